/* An ATmega1284P with the rig's firmware, in simavr, between a host and a board that are other programs.
 *
 *     bench rig.elf
 *
 * speaks with the board's program through its own input and output: first a line with the name of a pseudo-terminal for
 * the host, then, in steps of `STEP` microseconds of the chip's time:
 *
 *   out   u32 time, u16 count, count x (u32 time at which the byte had arrived, u8 byte)
 *   in    STEP * 8000 / 1000000 pairs of int16: what the converter's inputs get, +-32767 for the whole of its range
 *
 * The chip's time follows the computer's, and is held back where the host's program is slow.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pty.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#include <simavr/avr_adc.h>
#include <simavr/avr_ioport.h>
#include <simavr/avr_uart.h>
#include <simavr/sim_avr.h>
#include <simavr/sim_elf.h>
#include <simavr/sim_irq.h>

enum { STEP = 2000, FREQUENCY = 16000000, PAIRS = STEP * 8 / 1000, MOST = 64, RING = 1 << 16 };

static int terminal;
static uint8_t to_host[RING];
static uint32_t head, tail;
static struct {
    uint32_t time;
    uint8_t byte;
} heard[MOST];
static uint16_t count;
static avr_t *avr;

static void from_chip(struct avr_irq_t *irq, uint32_t value, void *param) {
    (void)irq, (void)param;
    if (head - tail < RING) {
        to_host[head++ % RING] = value;
    }
}

static int full;

static void fullness(struct avr_irq_t *irq, uint32_t value, void *param) {
    (void)irq, (void)value;
    full = param != NULL;
}

static void for_board(struct avr_irq_t *irq, uint32_t value, void *param) {
    (void)irq, (void)param;
    if (count < MOST) {
        heard[count].time = avr->cycle * 1000000 / FREQUENCY;
        heard[count++].byte = value;
    }
}

static void exactly(int fd, void *data, size_t size, int writing) {
    for (char *at = data; size;) {
        ssize_t done = writing ? write(fd, at, size) : read(fd, at, size);
        if (done <= 0) {
            if (done < 0 && errno == EINTR) {
                continue;
            }
            exit(0); /* the board's program has ended */
        }
        at += done;
        size -= done;
    }
}

int main(int argc, char **argv) {
    elf_firmware_t firmware = {0};
    if (argc != 2 || elf_read_firmware(argv[1], &firmware)) {
        fprintf(stderr, "usage: bench rig.elf\n");
        return 2;
    }
    avr = avr_make_mcu_by_name("atmega1284p");
    avr_init(avr);
    firmware.frequency = FREQUENCY;
    avr_load_firmware(avr, &firmware);
    avr->frequency = FREQUENCY;
    avr->aref = avr->avcc = avr->vcc = 5000;
    avr->log = LOG_ERROR;
    for (char uart = '0'; uart <= '1'; uart++) {
        uint32_t flags = 0;
        avr_ioctl(avr, AVR_IOCTL_UART_GET_FLAGS(uart), &flags);
        flags &= ~(AVR_UART_FLAG_STDIO | AVR_UART_FLAG_POLL_SLEEP);
        avr_ioctl(avr, AVR_IOCTL_UART_SET_FLAGS(uart), &flags);
        avr_irq_register_notify(
            avr_io_getirq(avr, AVR_IOCTL_UART_GETIRQ(uart), UART_IRQ_OUTPUT), uart == '0' ? from_chip : for_board, NULL);
    }
    avr_irq_register_notify(
        avr_io_getirq(avr, AVR_IOCTL_UART_GETIRQ('0'), UART_IRQ_OUT_XOFF), fullness, &full);
    avr_irq_register_notify(avr_io_getirq(avr, AVR_IOCTL_UART_GETIRQ('0'), UART_IRQ_OUT_XON), fullness, NULL);
    avr_irq_t *input = avr_io_getirq(avr, AVR_IOCTL_UART_GETIRQ('0'), UART_IRQ_INPUT);
    avr_irq_t *converter[2];
    for (int n = 0; n < 2; n++) {
        converter[n] = avr_io_getirq(avr, AVR_IOCTL_ADC_GETIRQ, ADC_IRQ_ADC0 + n);
    }
    int slave;
    char name[64];
    struct termios raw;
    if (openpty(&terminal, &slave, name, NULL, NULL)) {
        perror("openpty");
        return 2;
    }
    tcgetattr(slave, &raw);
    cfmakeraw(&raw);
    tcsetattr(slave, TCSANOW, &raw);
    fcntl(terminal, F_SETFL, O_NONBLOCK);
    signal(SIGPIPE, SIG_IGN);
    dprintf(1, "%s\n", name);

    uint8_t from_host[64];
    size_t got = 0, given = 0;
    avr_cycle_count_t next_byte = 0;
    struct timespec begun, clock;
    clock_gettime(CLOCK_MONOTONIC, &begun);
    int16_t pairs[PAIRS][2];
    memset(pairs, 0, sizeof pairs);
    for (uint64_t step = 0;; step++) {
        avr_cycle_count_t start = avr->cycle, end = (step + 1) * STEP * (FREQUENCY / 1000000);
        uint64_t length = end - start;
        for (int pair = -1; avr->cycle < end;) {
            int due = (avr->cycle - start) * PAIRS / length;
            if (due != pair && due < PAIRS) {
                pair = due;
                for (int n = 0; n < 2; n++) {
                    avr_raise_irq(converter[n], (pairs[pair][n] + 32768) * 5000L / 65536);
                }
            }
            if (given == got && avr->cycle >= next_byte) {
                ssize_t size = read(terminal, from_host, sizeof from_host);
                got = size > 0 ? size : 0;
                given = 0;
                next_byte = avr->cycle + 160 * (got ? 0 : 10);
            }
            if (given < got && !full && avr->cycle >= next_byte) {
                avr_raise_irq(input, from_host[given++]);
                next_byte = avr->cycle + 176; /* 10 bits at 1 Mbaud, and a little */
            }
            int state = avr_run(avr);
            if (state == cpu_Done || state == cpu_Crashed) {
                fprintf(stderr, "the chip has stopped\n");
                return 1;
            }
        }
        while (tail != head) {
            uint32_t size = head - tail, until_wrap = RING - tail % RING;
            ssize_t done = write(terminal, to_host + tail % RING, size < until_wrap ? size : until_wrap);
            if (done <= 0) {
                break;
            }
            tail += done;
        }
        uint8_t message[6 + 5 * MOST];
        uint32_t time = avr->cycle * 1000000 / FREQUENCY;
        memcpy(message, &time, 4);
        memcpy(message + 4, &count, 2);
        for (int n = 0; n < count; n++) {
            memcpy(message + 6 + 5 * n, &heard[n].time, 4);
            message[6 + 5 * n + 4] = heard[n].byte;
        }
        exactly(1, message, 6 + 5 * count, 1);
        count = 0;
        exactly(0, pairs, sizeof pairs, 0);
        clock_gettime(CLOCK_MONOTONIC, &clock);
        int64_t ahead = (int64_t)(step + 1) * STEP * 1000
                        - ((clock.tv_sec - begun.tv_sec) * 1000000000LL + clock.tv_nsec - begun.tv_nsec);
        if (ahead > 0) {
            struct timespec rest = {ahead / 1000000000, ahead % 1000000000};
            nanosleep(&rest, NULL);
        } else if (ahead < -100000000LL) { /* too slow: time that is lost is not made up for */
            begun.tv_sec += -ahead / 1000000000;
            begun.tv_nsec += -ahead % 1000000000;
        }
    }
}
