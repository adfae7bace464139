#include "usb.h"

#include "registers.h"

/* The controller's memory: a set-up packet, how each end point works, what is in its buffer, the buffers. */
#define SETUP ((volatile uint8_t *)USB_RAM)
#define ENDPOINT_IN(n) REG(USB_RAM + 8 * (n))
#define ENDPOINT_OUT(n) REG(USB_RAM + 8 * (n) + 4)
#define BUFFER_IN(n) REG(USB_RAM + 0x80 + 8 * (n))
#define BUFFER_OUT(n) REG(USB_RAM + 0x84 + 8 * (n))
enum { CONTROL_AT = 0x100, BULK_IN_AT = 0x180, BULK_OUT_AT = 0x1c0, NOTICE_AT = 0x200 };
enum { FULL = 1 << 15, DATA1 = 1 << 13, STALL = 1 << 11, AVAILABLE = 1 << 10, LENGTH = 0x3ff };
enum { ENABLE = 1u << 31, PER_BUFFER = 1 << 29, BULK = 2 << 26, INTERRUPT = 3 << 26 };

#define ADDRESS REG(USB + 0x00)
#define MAIN_CTRL REG(USB + 0x40)
#define SIE_CTRL REG(USB + 0x4c)
#define SIE_STATUS REG(USB + 0x50)
#define BUFF_STATUS REG(USB + 0x58)
#define EP_STALL_ARM REG(USB + 0x68)
#define MUXING REG(USB + 0x74)
#define POWER REG(USB + 0x78)
enum { BUS_RESET = 1 << 19, SETUP_RECEIVED = 1 << 17, PULLUP = 1 << 16, PER_CONTROL_BUFFER = 1 << 29 };

enum { DATA = 1, NOTICE = 2 }; /* end points */

static const uint8_t device[18] = {
    18, 1, 0x00, 0x02, 2, 0, 0, 64, 0x09, 0x12, 0x01, 0x00, 0x00, 0x01, 1, 2, 0, 1,
    /* vendor 1209, product 0001: pid.codes' number for tests; a rig is chosen by its port's name, not by these */
};

static const uint8_t configuration[67] = {
    9, 2, 67, 0, 2, 1, 0, 0x80, 250,           /* two interfaces, 500 mA */
    9, 4, 0, 0, 1, 2, 2, 0, 0,                 /* communication, abstract control */
    5, 0x24, 0, 0x10, 0x01,                    /* header */
    5, 0x24, 1, 0, 1,                          /* no calls */
    4, 0x24, 2, 2,                             /* line coding */
    5, 0x24, 6, 0, 1,                          /* union */
    7, 5, 0x80 | NOTICE, 3, 8, 0, 255,         /* notices: never any */
    9, 4, 1, 0, 2, 10, 0, 0, 0,                /* data */
    7, 5, DATA, 2, USB_PACKET, 0, 0,           /* bulk, to the rig */
    7, 5, 0x80 | DATA, 2, USB_PACKET, 0, 0,    /* and from it */
};

static const char *const names[] = {"jxemu", "capture rig"};

static uint8_t line[7] = {0x00, 0xc2, 0x01, 0x00, 0, 0, 8}; /* what the host sets and nobody minds: 115200 8N1 */
static uint8_t text[64];
static const uint8_t *left_data;
static uint16_t left;
static uint8_t new_address;
static bool control_data1, configured, taking_line, reading; /* reading: the request is for data to the host */
static bool in_data1, out_data1, in_busy, came;
static uint8_t came_size;

static void copy_in(uint32_t at, const uint8_t *data, uint8_t size) {
    volatile uint8_t *to = (volatile uint8_t *)(USB_RAM + at);
    for (uint8_t n = 0; n < size; n++) {
        to[n] = data[n];
    }
}

/* The controller runs on a clock of its own: a buffer is filled in first and handed over some cycles later. */
static void hand_over(volatile uint32_t *buffer, uint32_t what) {
    *buffer = what;
    for (volatile uint8_t n = 0; n < 4; n++) {
    }
    *buffer = what | AVAILABLE;
}

static void control_in(void) {
    uint8_t size = left < 64 ? left : 64;
    copy_in(CONTROL_AT, left_data, size);
    hand_over(&BUFFER_IN(0), FULL | (control_data1 ? DATA1 : 0) | size);
    control_data1 = !control_data1;
    left_data += size;
    left -= size;
}

static void control_out(uint8_t size) {
    hand_over(&BUFFER_OUT(0), DATA1 | size);
}

static void answer(const uint8_t *data, uint16_t size, uint16_t wanted) {
    left_data = data;
    left = size < wanted ? size : wanted;
    control_in();
}

static void take_bulk(void) {
    hand_over(&BUFFER_OUT(DATA), (out_data1 ? DATA1 : 0) | USB_PACKET);
    out_data1 = !out_data1;
}

static void refuse(void) {
    EP_STALL_ARM = 3;
    BUFFER_IN(0) = STALL;
    BUFFER_OUT(0) = STALL;
}

static void descriptor(uint8_t kind, uint8_t which, uint16_t wanted) {
    if (kind == 1) {
        answer(device, sizeof device, wanted);
    } else if (kind == 2) {
        answer(configuration, sizeof configuration, wanted);
    } else if (kind == 3 && which <= 2) {
        uint8_t size = 2;
        text[1] = 3;
        if (which == 0) {
            text[size++] = 0x09;
            text[size++] = 0x04;
        } else {
            for (const char *letter = names[which - 1]; *letter; letter++) {
                text[size++] = *letter;
                text[size++] = 0;
            }
        }
        text[0] = size;
        answer(text, size, wanted);
    } else {
        refuse();
    }
}

static void set_up(void) {
    uint8_t type = SETUP[0], request = SETUP[1];
    uint16_t value = SETUP[2] | SETUP[3] << 8, wanted = SETUP[6] | SETUP[7] << 8;
    control_data1 = true;
    taking_line = false;
    left = 0;
    reading = type & 0x80;
    if (type == 0x80 && request == 6) {
        descriptor(value >> 8, value & 0xff, wanted);
    } else if (type == 0xa1 && request == 0x21) {
        answer(line, sizeof line, wanted);
    } else if (type == 0x21 && request == 0x20) {
        taking_line = true;
        control_out(sizeof line);
    } else if (type & 0x80) {
        static const uint8_t nothing[2] = {0, 0}; /* status, configuration, interface */
        text[0] = request == 8 ? configured : 0;
        answer(request == 8 ? text : nothing, request == 0 ? 2 : 1, wanted);
    } else {
        if (request == 5 && type == 0) {
            new_address = value & 0x7f;
        } else if (request == 1 && type == 2) { /* an end point begins anew */
            in_data1 = (SETUP[4] & 0x80) ? false : in_data1;
            out_data1 = (SETUP[4] & 0x80) ? out_data1 : false;
        } else if (request == 9 && type == 0) {
            configured = value != 0;
            BUFFER_IN(DATA) = 0;
            BUFFER_OUT(DATA) = 0;
            in_data1 = out_data1 = in_busy = came = false;
            ENDPOINT_IN(DATA) = ENABLE | PER_BUFFER | BULK | BULK_IN_AT;
            ENDPOINT_OUT(DATA) = ENABLE | PER_BUFFER | BULK | BULK_OUT_AT;
            ENDPOINT_IN(NOTICE) = ENABLE | PER_BUFFER | INTERRUPT | NOTICE_AT;
            take_bulk();
        }
        answer(text, 0, 0); /* done */
    }
}

void usb_begin(void) {
    for (uint32_t at = 0; at < 4096; at += 4) {
        REG(USB_RAM + at) = 0;
    }
    MUXING = 1 << 0 | 1 << 3;
    POWER = 1 << 2 | 1 << 3; /* there is power: it runs on it */
    MAIN_CTRL = 1;
    SIE_CTRL = PER_CONTROL_BUFFER | PULLUP;
}

void usb_turn(void) {
    uint32_t status = SIE_STATUS;
    if (status & BUS_RESET) {
        SIE_STATUS = BUS_RESET;
        ADDRESS = 0;
        new_address = 0;
        configured = came = taking_line = reading = in_busy = false;
        left = 0;
        BUFF_STATUS = ~0u;
    }
    uint32_t done = BUFF_STATUS; /* what is done came before the request that is waiting */
    if (done & 1 << 0) { /* control, to the host */
        BUFF_STATUS = 1 << 0;
        if (new_address) {
            ADDRESS = new_address;
            new_address = 0;
        } else if (left) {
            control_in();
        } else if (reading) {
            control_out(0);
            reading = false;
        }
    }
    if (done & 1 << 1) { /* control, from the host */
        BUFF_STATUS = 1 << 1;
        if (taking_line) {
            for (uint8_t n = 0; n < sizeof line; n++) {
                line[n] = ((volatile uint8_t *)(USB_RAM + CONTROL_AT))[n];
            }
            taking_line = false;
            control_data1 = true;
            answer(text, 0, 0);
        }
    }
    if (done & 1u << (2 * DATA)) {
        BUFF_STATUS = 1u << (2 * DATA);
        in_busy = false;
    }
    if (done & 1u << (2 * DATA + 1)) {
        BUFF_STATUS = 1u << (2 * DATA + 1);
        came = true;
        came_size = BUFFER_OUT(DATA) & LENGTH;
    }
    if (status & SETUP_RECEIVED) {
        SIE_STATUS = SETUP_RECEIVED;
        set_up();
    }
}

uint8_t usb_read(uint8_t *packet) {
    if (!came) {
        return 0;
    }
    for (uint8_t n = 0; n < came_size; n++) {
        packet[n] = ((volatile uint8_t *)(USB_RAM + BULK_OUT_AT))[n];
    }
    came = false;
    take_bulk();
    return came_size;
}

bool usb_ready(void) {
    return configured && !in_busy;
}

void usb_write(const uint8_t *packet, uint8_t size) {
    copy_in(BULK_IN_AT, packet, size);
    hand_over(&BUFFER_IN(DATA), FULL | (in_data1 ? DATA1 : 0) | size);
    in_data1 = !in_data1;
    in_busy = true;
}
