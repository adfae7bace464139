/* The rig on an ATmega1284P at 16 MHz: two serial ports, two of its converter's inputs.
 *
 *   RXD0, TXD0 (14, 15)   the host, 1 Mbaud, through a USB adapter
 *   TXD1 (17)             the board's RX, 31250 baud, 5 V
 *   ADC0, ADC1 (40, 39)   what the board plays, AC coupled and biased to half of AVCC
 *
 * It feeds no clock. A byte for the board begins up to 100 us after its time; those that follow it have no gaps. Timer 1
 * counts half microseconds; timer 0 takes a sample every 100 us, the inputs by turns, so that each is heard 5000 times a
 * second at 10 bits (at 8000 the loop cannot keep up): enough for levels, times and low notes, not for listening.
 */
#include <avr/interrupt.h>
#include <avr/io.h>

#include "rig.h"

#define RATE 5000UL
#define HOST_BAUD 1000000UL
#define BOARD_BAUD 31250UL
#define FRAMES 32 /* of samples that wait for the loop; a power of two */

static struct rig rig;

/* What interrupts bring. Indices are bytes and wrap by themselves. */
static volatile uint8_t in[256], in_head, out[256], out_tail;
static volatile int16_t taken[FRAMES][RIG_CHANNELS];
static volatile uint32_t taken_at[FRAMES];
static volatile uint8_t taken_head;
static volatile uint16_t missed;
static uint8_t in_tail;
static volatile uint8_t taken_tail;
static volatile uint8_t out_head;

/* Microseconds. Asked for at least every 16 ms, since timer 0's interrupt does. A count that seems to go back (simavr's
 * does by one now and then) is one that stands still. */
static uint32_t now(void) {
    static uint32_t us;
    static uint16_t last;
    uint8_t was = SREG;
    cli();
    int16_t passed = TCNT1 - last;
    if (passed > 1) {
        last += passed & ~1;
        us += passed >> 1;
    }
    uint32_t found = us;
    SREG = was;
    return found;
}

ISR(USART0_RX_vect) {
    uint8_t byte = UDR0;
    if ((uint8_t)(in_head + 1) != in_tail) { /* else it is lost, and its frame's CRC will say so */
        in[in_head] = byte;
        in_head++;
    }
}

ISR(USART0_UDRE_vect) {
    if (out_tail == out_head) {
        UCSR0B &= ~_BV(UDRIE0);
    } else {
        UDR0 = out[out_tail];
        out_tail++;
    }
}

/* Longer than two bytes from the host take, which must get in between. */
ISR(TIMER0_COMPA_vect, ISR_NOBLOCK) {
    static uint8_t channel;
    static uint32_t begun;
    uint8_t head = taken_head & (FRAMES - 1);
    taken[head][channel] = ((int16_t)ADC - 512) * 64;
    if (channel == RIG_CHANNELS - 1) {
        taken_at[head] = begun;
        if (!missed && (uint8_t)(taken_head - taken_tail) < FRAMES - 1) {
            taken_head++;
        } else { /* all of them, until the loop has come so far */
            missed++;
        }
    }
    channel = channel == RIG_CHANNELS - 1 ? 0 : channel + 1;
    ADMUX = _BV(REFS0) | channel;
    ADCSRA |= _BV(ADSC); /* 13 clocks of 250 kHz: done before the next interrupt */
    uint32_t at = now();
    if (channel == 0) {
        begun = at;
    }
    uint8_t byte;
    if ((UCSR1A & _BV(UDRE1)) && rig_due(&rig, at, &byte)) {
        UDR1 = byte;
    }
}

int main(void) {
    UCSR0A = _BV(U2X0);
    UBRR0 = F_CPU / 8 / HOST_BAUD - 1;
    UCSR0B = _BV(RXEN0) | _BV(TXEN0) | _BV(RXCIE0);
    UCSR0C = _BV(UCSZ01) | _BV(UCSZ00);
    UBRR1 = F_CPU / 16 / BOARD_BAUD - 1;
    UCSR1B = _BV(TXEN1);
    UCSR1C = _BV(UCSZ11) | _BV(UCSZ10);
    TCCR1B = _BV(CS11); /* / 8 */
    TCCR0A = _BV(WGM01);
    TCCR0B = _BV(CS01); /* / 8 */
    OCR0A = F_CPU / 8 / (RATE * RIG_CHANNELS) - 1;
    TIMSK0 = _BV(OCIE0A);
    ADMUX = _BV(REFS0);
    ADCSRA = _BV(ADEN) | _BV(ADPS2) | _BV(ADPS1); /* / 64 */
    rig_begin(&rig, "ATmega1284P", RATE, 10, 0, 0);
    sei();
    for (;;) {
        uint8_t byte;
        for (uint8_t n = 0; n < 16 && (uint8_t)(out_head + 1) != out_tail && rig_transmit(&rig, &byte); n++) {
            out[out_head] = byte;
            out_head++;
            UCSR0B |= _BV(UDRIE0);
        }
        for (uint8_t n = 0; n < 8 && in_tail != in_head; n++) {
            byte = in[in_tail];
            in_tail++;
            rig_receive(&rig, byte, now());
        }
        for (uint8_t n = 0; n < 4 && taken_tail != taken_head; n++) {
            uint8_t tail = taken_tail & (FRAMES - 1);
            int16_t values[RIG_CHANNELS];
            for (uint8_t channel = 0; channel < RIG_CHANNELS; channel++) {
                values[channel] = taken[tail][channel];
            }
            rig_sample(&rig, values, taken_at[tail]);
            taken_tail++;
        }
        if (missed && taken_tail == taken_head) {
            cli();
            uint16_t count = missed;
            missed = 0;
            sei();
            rig_miss(&rig, count);
        }
        rig_turn(&rig, now());
    }
}
