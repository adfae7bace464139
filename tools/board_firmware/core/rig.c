#include "rig.h"

#ifdef RIG_CRC
#define crc_of RIG_CRC
#else
static uint16_t crc_of(uint16_t crc, uint8_t byte) {
    uint8_t x = crc >> 8 ^ byte; /* polynomial 1021, eight bits at once */
    x ^= x >> 4;
    return crc << 8 ^ (uint16_t)x << 12 ^ (uint16_t)x << 5 ^ x;
}
#endif

static void put16(uint8_t *at, uint16_t value) {
    at[0] = value & 0xFF;
    at[1] = value >> 8;
}

static void put32(uint8_t *at, uint32_t value) {
    put16(at, value & 0xFFFF);
    put16(at + 2, value >> 16);
}

static uint32_t get32(const uint8_t *at) {
    return at[0] | (uint32_t)at[1] << 8 | (uint32_t)at[2] << 16 | (uint32_t)at[3] << 24;
}

/* --- to the host --- */

static uint16_t out_room(const struct rig *rig) {
    return RIG_OUT - 1 - ((rig->out_head - rig->out_tail) & (RIG_OUT - 1));
}

/* A frame into the ring: COBS writes the distance to the next zero where the last one was. False if there is no room. */
static bool send(struct rig *rig, uint8_t kind, const uint8_t *body, uint8_t size) {
    const uint16_t named = size + 2, whole = size + RIG_HEAD;
    if (out_room(rig) < (uint16_t)(whole + 3)) {
        return false;
    }
    uint16_t crc = 0xFFFF, mark = rig->out_head, at = (mark + 1) & (RIG_OUT - 1);
    uint8_t run = 1;
    for (uint16_t n = 0; n < whole; n++) {
        uint8_t byte;
        if (n < 2) {
            byte = n == 0 ? kind : 0;
        } else if (n < named) {
            byte = body[n - 2];
        } else {
            byte = n == named ? crc >> 8 : crc & 0xFF;
        }
        if (n < named) {
            crc = crc_of(crc, byte);
        }
        if (byte) {
            rig->out[at] = byte;
            run++;
        } else {
            rig->out[mark] = run;
            mark = at;
            run = 1;
        }
        at = (at + 1) & (RIG_OUT - 1);
    }
    rig->out[mark] = run;
    rig->out[at] = 0;
    rig->out_head = (at + 1) & (RIG_OUT - 1);
    return true;
}

bool rig_transmit(struct rig *rig, uint8_t *byte) {
    if (rig->out_tail == rig->out_head) {
        return false;
    }
    *byte = rig->out[rig->out_tail];
    rig->out_tail = (rig->out_tail + 1) & (RIG_OUT - 1);
    return true;
}

static uint16_t waiting(const struct rig *rig) {
    uint16_t found;
    RIG_LOCK();
    found = (rig->head - rig->tail) & (RIG_QUEUE - 1);
    RIG_UNLOCK();
    return found;
}

static void acknowledge(struct rig *rig, uint32_t now) {
    uint8_t body[15];
    uint32_t sent;
    uint16_t late;
    RIG_LOCK();
    sent = rig->sent;
    late = rig->late;
    RIG_UNLOCK();
    body[0] = rig->expected;
    put16(body + 1, RIG_QUEUE - 1 - waiting(rig));
    put32(body + 3, sent);
    put32(body + 7, now);
    put16(body + 11, rig->bad);
    put16(body + 13, late);
    send(rig, 'K', body, sizeof body);
    rig->acked = now;
}

static void welcome(struct rig *rig, uint32_t now) {
    uint8_t body[17 + 32], length = 0;
    while (rig->name[length] && length < 32) {
        body[17 + length] = rig->name[length];
        length++;
    }
    body[0] = RIG_VERSION;
    put16(body + 1, RIG_QUEUE - 1);
    put32(body + 3, rig->rate);
    body[7] = RIG_CHANNELS;
    body[8] = rig->bits;
    put32(body + 9, rig->clock_hz);
    put32(body + 13, now);
    send(rig, 'H', body, 17 + length);
}

static void forget(struct rig *rig, uint32_t now) {
    RIG_LOCK();
    rig->head = rig->tail = 0;
    rig->sent = 0;
    rig->late = 0;
    rig->busy = false;
    RIG_UNLOCK();
    rig->expected = 0;
    rig->bad = rig->dropped = 0;
    rig->listening = false;
    rig->gathered = 0;
    rig->acked = now;
}

void rig_begin(struct rig *rig, const char *name, uint32_t rate, uint8_t bits, uint32_t clock_hz, uint32_t now) {
    for (uint8_t *at = (uint8_t *)rig; at < (uint8_t *)(rig + 1); at++) {
        *at = 0;
    }
    rig->name = name;
    rig->rate = rate;
    rig->bits = bits;
    rig->clock_hz = clock_hz;
    forget(rig, now);
    welcome(rig, now); /* whoever was speaking with it before must know that it begins anew */
}

/* --- from the host --- */

/* COBS out of `part`, in place; the plain size, 0 if it is none. */
static uint16_t decoded(uint8_t *part, uint16_t size) {
    uint16_t from = 0, to = 0;
    while (from < size) {
        uint8_t run = part[from++];
        if (run == 0 || (uint16_t)(from + run - 1) > size) {
            return 0;
        }
        for (uint8_t n = 1; n < run; n++) {
            part[to++] = part[from++];
        }
        if (run < 255 && from < size) {
            part[to++] = 0;
        }
    }
    return to;
}

static void reject(struct rig *rig, uint32_t now) {
    rig->bad++;
    acknowledge(rig, now);
}

static void play(struct rig *rig, uint8_t number, const uint8_t *body, uint16_t size, uint32_t now) {
    if (number != rig->expected || size < 4 || (uint16_t)(size - 4) > (uint16_t)(RIG_QUEUE - 1 - waiting(rig))) {
        reject(rig, now);
        return;
    }
    rig->expected++;
    uint32_t begin = get32(body);
    for (uint16_t n = 4; n < size; n++) {
        rig->queue[rig->head].time = begin;
        rig->queue[rig->head].byte = body[n];
        RIG_LOCK();
        rig->head = (rig->head + 1) & (RIG_QUEUE - 1);
        RIG_UNLOCK();
        begin += RIG_BYTE_US;
    }
    acknowledge(rig, now);
}

static void take(struct rig *rig, const uint8_t *frame, uint16_t size, uint32_t now) {
    const uint8_t *body = frame + 2;
    uint8_t number = frame[1];
    size -= RIG_HEAD;
    switch (frame[0]) {
    case 'h':
        forget(rig, now);
        welcome(rig, now);
        break;
    case 'p':
        play(rig, number, body, size, now);
        break;
    case 'x':
        if ((uint8_t)(number - rig->expected) >= 128) { /* an old one */
            reject(rig, now);
            break;
        }
        RIG_LOCK();
        rig->tail = rig->head;
        RIG_UNLOCK();
        rig->expected = number + 1;
        acknowledge(rig, now);
        break;
    case 'a':
        rig->listening = size && body[0] == 1;
        rig->gathered = 0;
        break;
    }
}

void rig_receive(struct rig *rig, uint8_t byte, uint32_t now) {
    if (byte) {
        if (rig->part_size < sizeof rig->part) {
            rig->part[rig->part_size] = byte;
        }
        if (rig->part_size <= sizeof rig->part) {
            rig->part_size++; /* one beyond its end means: too long */
        }
        return;
    }
    uint16_t size = rig->part_size;
    bool first = !rig->synchronised;
    rig->part_size = 0;
    rig->synchronised = true;
    if (size == 0) {
        return;
    }
    uint16_t plain = size <= sizeof rig->part ? decoded(rig->part, size) : 0, crc = 0xFFFF;
    for (uint16_t n = 0; n < plain; n++) {
        crc = crc_of(crc, rig->part[n]);
    }
    if (plain >= RIG_HEAD && plain <= RIG_LONGEST && crc == 0) {
        take(rig, rig->part, plain, now);
    } else if (!first) { /* the stream may begin in the middle of a frame */
        reject(rig, now);
    }
}

/* --- to the board --- */

bool rig_due(struct rig *rig, uint32_t now, uint8_t *byte) {
    if (rig->busy && (int32_t)(now - rig->free_at) >= 0) {
        rig->busy = false;
    }
    if (rig->head == rig->tail) {
        return false;
    }
    const struct rig_entry *next = &rig->queue[rig->tail];
    uint32_t begin = rig->busy ? rig->free_at : now;
    if ((int32_t)(begin - next->time) < 0 || begin - now > RIG_BYTE_US) {
        return false;
    }
    rig->late += begin - next->time > RIG_LATE_US && rig->late < 0xFFFF;
    *byte = next->byte;
    rig->tail = (rig->tail + 1) & (RIG_QUEUE - 1);
    rig->begun = begin;
    rig->free_at = begin + RIG_BYTE_US;
    rig->busy = true;
    rig->sent++;
    return true;
}

/* --- what is heard --- */

void rig_sample(struct rig *rig, const int16_t *values, uint32_t taken) {
    if (rig->listening) {
        if (rig->gathered == 0) {
            rig->first_time = taken;
        }
        for (uint8_t n = 0; n < RIG_CHANNELS; n++) {
            rig->samples[rig->gathered * RIG_CHANNELS + n] = values[n];
        }
        rig->gathered++;
        if (rig->gathered == RIG_SAMPLES) {
            uint8_t body[10 + sizeof rig->samples];
            put32(body, rig->first_time);
            put32(body + 4, rig->position + 1 - RIG_SAMPLES);
            put16(body + 8, rig->dropped);
            for (uint16_t n = 0; n < RIG_SAMPLES * RIG_CHANNELS; n++) {
                put16(body + 10 + 2 * n, (uint16_t)rig->samples[n]);
            }
            if (out_room(rig) < sizeof body + 64 || !send(rig, 'A', body, sizeof body)) { /* leave room for words */
                rig->dropped += RIG_SAMPLES;
            }
            rig->gathered = 0;
        }
    }
    rig->position++;
}

void rig_miss(struct rig *rig, uint32_t count) {
    if (rig->listening) {
        rig->dropped += count + rig->gathered;
    }
    rig->gathered = 0;
    rig->position += count;
}

void rig_turn(struct rig *rig, uint32_t now) {
    if (now - rig->acked >= RIG_HEARTBEAT_US) {
        acknowledge(rig, now);
    }
}
