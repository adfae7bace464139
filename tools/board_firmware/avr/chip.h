/* What `rig.h` leaves to the chip: interrupts off and on again as they were, and a CRC in assembly. */
#include <avr/interrupt.h>
#include <util/crc16.h>

#define RIG_LOCK() { uint8_t sreg_ = SREG; cli()
#define RIG_UNLOCK() __asm__ volatile("" ::: "memory"); SREG = sreg_; }
#define RIG_CRC(crc, byte) _crc_xmodem_update(crc, byte)
