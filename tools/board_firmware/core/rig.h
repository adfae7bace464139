/* The capture rig, without its chip: frames to and from the host, and the queue of bytes for the board.
 *
 * The protocol is that of jxemu/bridge/frames.py. Everything here is called from one loop, but for `rig_due`, which may
 * be called from an interrupt; what other interrupts bring goes through the chip's own rings first. Times are
 * microseconds modulo 2^32.
 */
#ifndef RIG_H
#define RIG_H

#include <stdbool.h>
#include <stdint.h>

enum { RIG_VERSION = 1, RIG_LONGEST = 250, RIG_HEAD = 4, RIG_BYTE_US = 320, RIG_HEARTBEAT_US = 50000, RIG_LATE_US = 1000 };

/* What a chip's folder decides. Both sizes are powers of two. */
#ifndef RIG_QUEUE
#define RIG_QUEUE 512 /* bytes for the board */
#endif
#ifndef RIG_OUT
#define RIG_OUT 4096 /* bytes for the host */
#endif
#ifndef RIG_CHANNELS
#define RIG_CHANNELS 2
#endif

/* Where `rig_due` is called from an interrupt: keeps it out for a moment. A pair encloses a block. */
#ifndef RIG_LOCK
#define RIG_LOCK()
#define RIG_UNLOCK()
#endif

/* RIG_CRC(crc, byte), where a chip's library has a faster CRC-16 of polynomial 1021. */

enum { RIG_SAMPLES = (RIG_LONGEST - RIG_HEAD - 10) / (2 * RIG_CHANNELS) };

struct rig_entry {
    uint32_t time;
    uint8_t byte;
};

struct rig {
    const char *name;
    uint32_t rate, clock_hz;
    uint8_t bits;

    uint8_t part[RIG_LONGEST + 2]; /* of a frame that is coming, still in COBS */
    uint16_t part_size;
    bool listening, synchronised;

    struct rig_entry queue[RIG_QUEUE];
    uint16_t head, tail;
    uint8_t expected;
    uint32_t begun, free_at, sent; /* begun: when the byte that was handed out last begins */
    bool busy;
    uint16_t bad, late;

    uint8_t out[RIG_OUT];
    uint16_t out_head, out_tail;
    uint32_t acked;

    int16_t samples[RIG_SAMPLES * RIG_CHANNELS];
    uint16_t gathered;
    uint32_t position, first_time;
    uint16_t dropped;
};

/* Begin. clock_hz: what it feeds to the board, 0 for none. */
void rig_begin(struct rig *rig, const char *name, uint32_t rate, uint8_t bits, uint32_t clock_hz, uint32_t now);

/* A byte has come from the host. */
void rig_receive(struct rig *rig, uint8_t byte, uint32_t now);

/* The next byte for the host; whether there is one. */
bool rig_transmit(struct rig *rig, uint8_t *byte);

/* A byte to put into the board's transmitter now; whether there is one. While the line is busy the next one is handed out
 * a byte ahead if it is to follow without a gap: transmitters hold one back. */
bool rig_due(struct rig *rig, uint32_t now, uint8_t *byte);

/* The converters' values, all channels at once, taken at a microsecond. */
void rig_sample(struct rig *rig, const int16_t *values, uint32_t taken);

/* So many samples were taken and are lost: there was no time for them. What is being gathered is lost with them. */
void rig_miss(struct rig *rig, uint32_t count);

/* Whatever is due by itself. */
void rig_turn(struct rig *rig, uint32_t now);

#endif
