"""A program for an RP2040's flash as a UF2 file, to be dropped on it: ``uf2.py rig.bin rig.uf2``.

The boot ROM wants a CRC-32 (polynomial 04C11DB7, not reflected, begun with FFFFFFFF) in the last of the first 256 bytes.
Source: RP2040 data sheet, 2.8.1.3.1; the UF2 format by Microsoft.
"""

import struct
import sys
from pathlib import Path

BLOCK, FLASH, FAMILY = 256, 0x10000000, 0xE48BFF56


def crc32(data: bytes) -> int:
    """Of the boot ROM's kind."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte << 24
        for _ in range(8):
            crc = (crc << 1) ^ 0x04C11DB7 if crc & 0x80000000 else crc << 1
            crc &= 0xFFFFFFFF
    return crc


def uf2(program: bytes) -> bytes:
    """The blocks of a program. Raises ValueError if its first stage does not fit."""
    if any(program[BLOCK - 4 : BLOCK]):
        raise ValueError("the first stage is longer than 252 bytes")
    program = program[: BLOCK - 4] + struct.pack("<I", crc32(program[: BLOCK - 4])) + program[BLOCK:]
    parts = [program[at : at + BLOCK].ljust(BLOCK, b"\0") for at in range(0, len(program), BLOCK)]
    made = b""
    for n, part in enumerate(parts):
        head = 0x0A324655, 0x9E5D5157, 0x2000, FLASH + n * BLOCK, BLOCK, n, len(parts), FAMILY
        made += struct.pack("<8I", *head) + part.ljust(476, b"\0") + struct.pack("<I", 0x0AB16F30)
    return made


if __name__ == "__main__":
    Path(sys.argv[2]).write_bytes(uf2(Path(sys.argv[1]).read_bytes()))
