/* The RP2040's USB as one serial port (CDC ACM), polled. */
#ifndef USB_H
#define USB_H

#include <stdbool.h>
#include <stdint.h>

enum { USB_PACKET = 64 };

/* Plug in. */
void usb_begin(void);

/* See to what has happened; call it often. */
void usb_turn(void);

/* A packet that has come from the host: its size, 0 if there is none. */
uint8_t usb_read(uint8_t *packet);

/* Whether a packet for the host can go now. */
bool usb_ready(void);

/* Send a packet to the host. */
void usb_write(const uint8_t *packet, uint8_t size);

#endif
