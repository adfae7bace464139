/* The rig on an RP2040 (a Raspberry Pi Pico): USB, the board's wire, two converter inputs, and 8 MHz for the board.
 *
 *   USB            the host
 *   GP4 (pin 6)    the board's RX, 31250 baud, through a level shifter to 5 V
 *   GP21 (pin 27)  8 MHz, through a level shifter, where the board's own crystal is taken out
 *   GP26 (pin 31)  what the board plays, AC coupled, biased to 1.65 V, 3.3 V peak to peak at most
 *   GP27 (pin 32)  the same, the other channel
 *
 * All clocks are 48 MHz of the USB's own, so that converters, wire and the board's 8 MHz never drift apart. Each input is
 * heard 48000 times a second at 12 bits. Every 20 us an interrupt empties the converter and looks for a byte that is due.
 *
 * It was compiled and never run: nobody who wrote it had a board. The core is tested (core/test.c, and on another chip).
 */
#include "registers.h"
#include "rig.h"
#include "usb.h"

#define RATE 48000u
#define HERTZ 48000000u
#define FRAMES 256 /* of samples that wait for the loop; a power of two */
enum { WIRE = 4, CLOCK = 21, FIRST_INPUT = 26, TICK_US = 20 };

static struct rig rig;
static volatile int16_t taken[FRAMES][RIG_CHANNELS];
static volatile uint32_t taken_at[FRAMES];
static volatile uint32_t taken_head, taken_tail, missed;

void *memset(void *to, int value, unsigned size) {
    for (uint8_t *at = to; size--; at++) {
        *at = value;
    }
    return to;
}

static void clocks(void) {
    REG(XOSC + 0x0c) = 47; /* a millisecond to start */
    REG(XOSC) = 0xaa0 | 0xfab << 12;
    while (!(REG(XOSC + 4) & 1u << 31)) {
    }
    REG(CLK_REF_CTRL) = 2; /* the crystal's 12 MHz */
    while (!(REG(CLK_REF_SELECTED) & 1 << 2)) {
    }
    CLEAR(RESETS) = RESET_PLL_USB;
    while (!(REG(RESET_DONE) & RESET_PLL_USB)) {
    }
    REG(PLL_USB) = 1;
    REG(PLL_USB + 8) = 120; /* 1440 MHz */
    CLEAR(PLL_USB + 4) = 1 << 0 | 1 << 5;
    while (!(REG(PLL_USB) & 1u << 31)) {
    }
    REG(PLL_USB + 0xc) = 6 << 16 | 5 << 12; /* 48 MHz */
    CLEAR(PLL_USB + 4) = 1 << 3;
    REG(CLK_SYS_CTRL) = 1 << 5; /* the PLL is chosen, then switched to */
    SET(CLK_SYS_CTRL) = 1;
    while (!(REG(CLK_SYS_SELECTED) & 1 << 1)) {
    }
    REG(CLK_PERI_CTRL) = CLOCK_ENABLE;
    REG(CLK_USB_CTRL) = CLOCK_ENABLE;
    REG(CLK_ADC_CTRL) = CLOCK_ENABLE;
    REG(CLK_GPOUT0_DIV) = 6 << 8;
    REG(CLK_GPOUT0_CTRL) = CLOCK_ENABLE | 3 << 5;
    WATCHDOG_TICK = 1 << 9 | 12; /* microseconds */
}

static void parts(void) {
    const uint32_t wanted = RESET_ADC | RESET_IO | RESET_PADS | RESET_TIMER | RESET_UART1 | RESET_USB;
    CLEAR(RESETS) = wanted;
    while ((REG(RESET_DONE) & wanted) != wanted) {
    }
    REG(IO_CTRL(WIRE)) = FUNCTION_UART;
    REG(IO_CTRL(CLOCK)) = FUNCTION_CLOCK;
    REG(UART1 + 0x24) = HERTZ / 16 / 31250;
    REG(UART1 + 0x28) = 0;
    REG(UART1 + 0x2c) = 3 << 5; /* 8N1, one byte held back */
    REG(UART1 + 0x30) = 1 << 0 | 1 << 8;
    for (uint8_t n = 0; n < RIG_CHANNELS; n++) {
        REG(IO_CTRL(FIRST_INPUT + n)) = FUNCTION_NONE;
        REG(PAD(FIRST_INPUT + n)) = 1 << 7; /* no digital input, no pulls */
    }
    REG(ADC) = 1;
    while (!(REG(ADC) & 1 << 8)) {
    }
    REG(ADC + 8) = 1;
    REG(ADC + 0x10) = (HERTZ / (RATE * RIG_CHANNELS) - 1) << 8;
}

/* The converter, from its first input on. What it holds is thrown away: whose it is is not known. */
static void convert(void) {
    REG(ADC) = 1;
    while (!(REG(ADC) & 1 << 8)) {
    }
    while (!(REG(ADC + 8) & 1 << 8)) {
        (void)REG(ADC + 0xc);
    }
    REG(ADC + 8) = 1 | 1 << 10 | 1 << 11; /* what was too much or too little is forgotten */
    REG(ADC) = 1 | 1 << 3 | ((1 << RIG_CHANNELS) - 1) << 16;
}

void tick(void) {
    static uint8_t channel;
    static uint32_t emptied;
    uint32_t now = TIMER_NOW;
    if (REG(ADC + 8) & 1 << 11) { /* results were lost: nobody knows whose the next one is */
        missed += (now - emptied) / (1000000 / RATE) + 1;
        channel = 0;
        convert();
    }
    emptied = now;
    while (!(REG(ADC + 8) & 1 << 8)) {
        uint32_t head = taken_head & (FRAMES - 1);
        taken[head][channel] = ((int16_t)(REG(ADC + 0xc) & 0xfff) - 2048) * 16;
        if (++channel == RIG_CHANNELS) {
            channel = 0;
            taken_at[head] = now;
            if (!missed && taken_head - taken_tail < FRAMES - 1) {
                taken_head++;
            } else { /* all of them, until the loop has come so far */
                missed++;
            }
        }
    }
    uint8_t byte;
    if (!(REG(UART1 + 0x18) & 1 << 5) && rig_due(&rig, now, &byte)) {
        REG(UART1) = byte;
    }
}

int main(void) {
    clocks();
    parts();
    rig_begin(&rig, "RP2040", RATE, 12, 8000000, TIMER_NOW);
    usb_begin();
    convert();
    SYST_RVR = HERTZ / 1000000 * TICK_US - 1;
    SYST_CVR = 0;
    SYST_CSR = 7;
    for (;;) {
        uint8_t packet[USB_PACKET], size;
        usb_turn();
        size = usb_read(packet);
        for (uint8_t n = 0; n < size; n++) {
            rig_receive(&rig, packet[n], TIMER_NOW);
        }
        if (usb_ready()) {
            for (size = 0; size < USB_PACKET - 1 && rig_transmit(&rig, &packet[size]); size++) {
            } /* never a whole packet: it would need an empty one after it */
            if (size) {
                usb_write(packet, size);
            }
        }
        for (uint8_t n = 0; n < 16 && taken_tail != taken_head; n++) {
            uint32_t tail = taken_tail & (FRAMES - 1);
            int16_t values[RIG_CHANNELS];
            for (uint8_t channel = 0; channel < RIG_CHANNELS; channel++) {
                values[channel] = taken[tail][channel];
            }
            rig_sample(&rig, values, taken_at[tail]);
            taken_tail++;
        }
        if (missed && taken_tail == taken_head) {
            uint32_t count = missed < 255 ? missed : 255;
            RIG_LOCK();
            missed -= count;
            RIG_UNLOCK();
            rig_miss(&rig, count);
        }
        rig_turn(&rig, TIMER_NOW);
    }
}

/* --- where the chip begins --- */

extern uint32_t stack_top, data_from, data_begin, data_end, bss_begin, bss_end;

void reset(void) {
    uint32_t *from = &data_from;
    for (uint32_t *to = &data_begin; to < &data_end; to++) {
        *to = *from++;
    }
    for (uint32_t *to = &bss_begin; to < &bss_end; to++) {
        *to = 0;
    }
    main();
}

static void stopped(void) {
    for (;;) {
    }
}

__attribute__((section(".vectors"), used)) static const void *const vectors[16] = {
    &stack_top, reset, stopped, stopped, 0, 0, 0, 0, 0, 0, 0, stopped, 0, 0, stopped, tick,
};
