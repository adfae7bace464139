/* Tests of the rig's core on the computer that builds it: `make test`. */
#include "rig.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct rig rig;
static int checks;

#define CHECK(what)                                                                                                     \
    do {                                                                                                                \
        checks++;                                                                                                       \
        if (!(what)) {                                                                                                  \
            fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #what);                                                  \
            exit(1);                                                                                                    \
        }                                                                                                               \
    } while (0)

static uint16_t crc16(const uint8_t *data, int size) {
    uint16_t crc = 0xFFFF;
    for (int n = 0; n < size; n++) {
        crc ^= data[n] << 8;
        for (int bit = 0; bit < 8; bit++) {
            crc = crc & 0x8000 ? (crc << 1) ^ 0x1021 : crc << 1;
        }
    }
    return crc;
}

/* A frame for the rig, as the host makes it; written apart from the core's own way of doing it. */
static int framed(uint8_t *to, uint8_t kind, uint8_t number, const void *body, int size) {
    uint8_t plain[300] = {kind, number};
    memcpy(plain + 2, body, size);
    uint16_t crc = crc16(plain, size + 2);
    plain[size + 2] = crc >> 8;
    plain[size + 3] = crc & 0xFF;
    int at = 0, begin = 0;
    size += 4;
    for (int n = 0; n <= size; n++) {
        if (n == size || plain[n] == 0) {
            to[at++] = n - begin + 1;
            memcpy(to + at, plain + begin, n - begin);
            at += n - begin;
            begin = n + 1;
        }
    }
    to[at++] = 0;
    return at;
}

static void tell(uint8_t kind, uint8_t number, const void *body, int size, uint32_t now) {
    uint8_t frame[300];
    int length = framed(frame, kind, number, body, size);
    for (int n = 0; n < length; n++) {
        rig_receive(&rig, frame[n], now);
    }
}

static void play(uint8_t number, uint32_t at, const char *text, uint32_t now) {
    uint8_t body[300] = {at & 0xFF, at >> 8 & 0xFF, at >> 16 & 0xFF, at >> 24};
    memcpy(body + 4, text, strlen(text));
    tell('p', number, body, 4 + strlen(text), now);
}

/* The next frame for the host, plain; its size without head, -1 if there is none. */
static int answer(uint8_t *kind, uint8_t *body) {
    uint8_t coded[400], plain[400], byte;
    int size = 0, from = 0, to = 0;
    while (rig_transmit(&rig, &byte) && byte) {
        coded[size++] = byte;
    }
    if (size == 0) {
        return -1;
    }
    while (from < size) {
        int run = coded[from++];
        for (int n = 1; n < run; n++) {
            plain[to++] = coded[from++];
        }
        if (from < size) {
            plain[to++] = 0;
        }
    }
    CHECK(to >= 4 && crc16(plain, to) == 0);
    *kind = plain[0];
    memcpy(body, plain + 2, to - 4);
    return to - 4;
}

static void begin(void) {
    uint8_t kind, body[300], version = RIG_VERSION;
    rig_begin(&rig, "host", 48000, 16, 8000000, 0);
    CHECK(answer(&kind, body) == 17 + 4 && kind == 'H' && answer(&kind, body) == -1);
    rig_receive(&rig, 0, 0);
    tell('h', 0, &version, 1, 1000);
    CHECK(answer(&kind, body) == 17 + 4 && kind == 'H');
    CHECK(body[0] == RIG_VERSION && body[7] == RIG_CHANNELS && body[8] == 16 && memcmp(body + 17, "host", 4) == 0);
    CHECK(answer(&kind, body) == -1);
}

static int heard(uint32_t from, uint32_t until, char *bytes, uint32_t *times) {
    int count = 0;
    for (uint32_t now = from; now != until; now++) {
        uint8_t byte;
        if (rig_due(&rig, now, &byte)) {
            bytes[count] = byte;
            times[count++] = rig.begun;
        }
    }
    return count;
}

int main(void) {
    uint8_t kind, body[300], byte;
    char bytes[600];
    uint32_t times[600];

    /* Bytes begin at their microsecond, 320 apart, also where the clock wraps. */
    for (int wrap = 0; wrap < 2; wrap++) {
        begin();
        uint32_t at = wrap ? 0xFFFFFF00u : 5000;
        play(0, at, "abc", at - 2000);
        CHECK(heard(at - 2000, at + 2000, bytes, times) == 3 && memcmp(bytes, "abc", 3) == 0);
        CHECK(times[0] == at && times[1] == at + 320 && times[2] == at + 640);
    }

    /* Two frames that are due together follow each other. */
    begin();
    play(0, 5000, "ab", 1000);
    play(1, 5100, "cd", 1000);
    CHECK(heard(1000, 9000, bytes, times) == 4 && times[3] == 5000 + 3 * 320);

    /* A number that is not expected is thrown away, and said. */
    begin();
    play(1, 5000, "x", 1000);
    CHECK(answer(&kind, body) == 15 && kind == 'K' && body[0] == 0 && body[11] == 1);
    play(0, 5000, "y", 1000);
    CHECK(heard(1000, 9000, bytes, times) == 1 && bytes[0] == 'y');

    /* Every wrong bit in a frame is noticed, and the frame after it understood. */
    uint8_t frame[300], content[8] = {0x88, 0x13, 0, 0, 'a', 0, 'b', 'c'};
    int length = framed(frame, 'p', 0, content, 8);
    for (int bit = 0; bit < 8 * (length - 1); bit++) {
        begin();
        frame[bit / 8] ^= 1 << bit % 8;
        for (int n = 0; n < length; n++) {
            rig_receive(&rig, frame[n], 1000);
        }
        frame[bit / 8] ^= 1 << bit % 8;
        CHECK(heard(1000, 9000, bytes, times) == 0);
        CHECK(answer(&kind, body) == 15 && kind == 'K' && body[11] >= 1);
        while (answer(&kind, body) >= 0) {
        }
        play(0, 9500, "z", 9000);
        CHECK(heard(9000, 12000, bytes, times) == 1 && bytes[0] == 'z');
    }

    /* More than the queue holds is refused whole; what is late is counted; cutting empties it. */
    begin();
    char much[200];
    memset(much, 'm', 199);
    much[199] = 0;
    uint8_t number = 0;
    while (rig.bad == 0 && number < 200) {
        play(number++, 1000000, much, 1000);
    }
    CHECK(rig.bad == 1 && number > 1);
    CHECK(((rig.head - rig.tail) & (RIG_QUEUE - 1)) == 199 * (number - 1));
    CHECK(rig_due(&rig, 1003000, &byte) && rig.late == 1);
    tell('x', 77, "", 0, 1003000);
    CHECK(heard(1003000, 1010000, bytes, times) == 0);
    play(78, 1011000, "w", 1010000);
    tell('x', 77, "", 0, 1010000); /* again, late */
    CHECK(heard(1010000, 1012000, bytes, times) == 1);

    /* Noise of any kind does no harm. */
    begin();
    srand(7);
    for (int n = 0; n < 1000000; n++) {
        rig_receive(&rig, rand() & 0xFF, n);
        while (rig_transmit(&rig, &byte)) {
        }
    }
    rig_receive(&rig, 0, 0);
    uint8_t version = RIG_VERSION;
    while (rig_transmit(&rig, &byte)) {
    }
    tell('h', 0, &version, 1, 0);
    CHECK(answer(&kind, body) == 21 && kind == 'H');

    /* Samples come back with their numbers; those that find no room are counted and leave a gap in the numbers. */
    begin();
    uint8_t on = 1;
    tell('a', 0, &on, 1, 1000);
    int16_t values[RIG_CHANNELS];
    int sent = 0, received = 0, frames = 0;
    for (; sent < 100000; sent++) {
        for (int n = 0; n < RIG_CHANNELS; n++) {
            values[n] = sent + n;
        }
        rig_sample(&rig, values, sent * 21);
        if (sent % 1000 == 0) {
            while (answer(&kind, body) >= 0) {
                if (kind == 'A') {
                    uint32_t position = body[4] | body[5] << 8 | body[6] << 16 | (uint32_t)body[7] << 24;
                    CHECK((int16_t)(body[10] | body[11] << 8) == (int16_t)position);
                    CHECK((uint32_t)(body[0] | body[1] << 8 | body[2] << 16 | (uint32_t)body[3] << 24) == position * 21);
                    received += RIG_SAMPLES;
                    frames++;
                }
            }
        }
    }
    CHECK(frames > 100 && rig.dropped > 0);
    CHECK((uint16_t)(sent - received - rig.dropped) < 1100);

    /* A missed sample leaves a gap in the numbers, and no frame reaches over it. */
    begin();
    tell('a', 0, &on, 1, 1000);
    for (int n = 0; n < 10; n++) {
        rig_sample(&rig, values, n);
    }
    rig_miss(&rig, 3);
    for (int n = 13; n < 13 + RIG_SAMPLES; n++) {
        rig_sample(&rig, values, n);
    }
    CHECK(answer(&kind, body) > 0 && kind == 'A' && body[0] == 13 && body[4] == 13 && body[8] == 13);
    printf("%d checks\n", checks);
    return 0;
}
