/* Registers of the RP2040 that the rig uses. Source: RP2040 data sheet. */
#ifndef REGISTERS_H
#define REGISTERS_H

#include <stdint.h>

#define REG(address) (*(volatile uint32_t *)(address))
#define SET(address) REG((address) + 0x2000)   /* writes set bits */
#define CLEAR(address) REG((address) + 0x3000) /* writes clear bits */

#define CLOCKS 0x40008000
#define CLK_GPOUT0_CTRL (CLOCKS + 0x00)
#define CLK_GPOUT0_DIV (CLOCKS + 0x04)
#define CLK_REF_CTRL (CLOCKS + 0x30)
#define CLK_REF_SELECTED (CLOCKS + 0x38)
#define CLK_SYS_CTRL (CLOCKS + 0x3c)
#define CLK_SYS_SELECTED (CLOCKS + 0x44)
#define CLK_PERI_CTRL (CLOCKS + 0x48)
#define CLK_USB_CTRL (CLOCKS + 0x54)
#define CLK_ADC_CTRL (CLOCKS + 0x60)
#define CLOCK_ENABLE (1u << 11)

#define RESETS 0x4000c000
#define RESET_DONE (RESETS + 0x08)
enum { RESET_ADC = 1 << 0, RESET_IO = 1 << 5, RESET_PADS = 1 << 8, RESET_PLL_USB = 1 << 13, RESET_TIMER = 1 << 21,
       RESET_UART1 = 1 << 23, RESET_USB = 1 << 24 };

#define IO_CTRL(pin) (0x40014000 + 8 * (pin) + 4)
#define PAD(pin) (0x4001c000 + 4 * (pin) + 4)
enum { FUNCTION_UART = 2, FUNCTION_CLOCK = 8, FUNCTION_NONE = 31 };

#define XOSC 0x40024000
#define PLL_USB 0x4002c000
#define UART1 0x40038000
#define ADC 0x4004c000
#define TIMER_NOW REG(0x40054028)
#define WATCHDOG_TICK REG(0x4005802c)

#define SYST_CSR REG(0xe000e010)
#define SYST_RVR REG(0xe000e014)
#define SYST_CVR REG(0xe000e018)

#define USB_RAM 0x50100000
#define USB 0x50110000

#endif
