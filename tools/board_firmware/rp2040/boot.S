/* What the boot ROM loads and runs first: 252 bytes and their CRC (uf2.py adds it). It lets the flash be read as memory, by
 * the command 03 that every chip knows, and goes to the program's vectors. Source: RP2040 data sheet, 2.8.1.3 and 4.10. */
    .syntax unified
    .cpu cortex-m0plus
    .thumb
    .section .boot, "ax"
    .global boot
    .thumb_func
boot:
    ldr r3, =0x18000000         /* the flash's serial interface */
    movs r1, #0
    str r1, [r3, #0x08]         /* off */
    movs r1, #4
    str r1, [r3, #0x14]         /* a quarter of the system's clock */
    ldr r1, =(31 << 16 | 3 << 8) /* 32 bits a word; command and address, then data */
    str r1, [r3, #0x00]
    movs r1, #0
    str r1, [r3, #0x04]
    ldr r1, =(0x03 << 24 | 2 << 8 | 6 << 2) /* command 03, 8 bits; 24 bits of address */
    ldr r0, =0x180000f4
    str r1, [r0]
    movs r1, #1
    str r1, [r3, #0x08]         /* on */
    ldr r0, =0x10000100
    ldr r1, =0xe000ed08
    str r0, [r1]                /* where the vectors are */
    ldmia r0, {r0, r1}
    msr msp, r0
    bx r1
    .pool
