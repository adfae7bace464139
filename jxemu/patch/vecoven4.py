"""Bulk dumps of the Vecoven v4 firmware: tones and patches of opcode 3A.

A dump is 64 patch messages and 50 tone messages, ``F0 41 3A 0n 24``, level, group, 00, number, data,
checksum, F7. The level is 20 for a tone, 30 for a patch. Data bytes with more than seven bits lose
their top bits, which follow in a byte of their own, the first byte's highest: a patch is the 48 bytes
of the classic dump in groups of seven; in a tone only the last eleven bytes are like this, their
top bits at 80 and 85. The checksum is the sum of the data without the bytes of top bits, modulo 128;
a tone leaves out 16, 24 .. 72 too, though these are data.

Unknown: tone positions 19, 71 and 72, bits 6 and 7 of the restored 82 and 83 and bits 3 to 7 of 84;
what a patch's tone number of 100 to 127 stands for.

Not shown by any message at hand: whole-a and whole-b (their order is that of classic editors), a VCA
on another envelope than ENV4, tone modes of ENV1 and ENV2.

Source: S4 (layout of a tone), S5 (codes of the v4 menus), S16 (packing, checksum, patch, values of tones).
"""

from jxemu.patch.parameter import PARAMETERS
from jxemu.patch.patch import Patch
from jxemu.patch.tone import NAME_LENGTH, Tone, decode_name

TONE_MESSAGE = 88
PATCH_MESSAGE = 66
_NUMBER, _DATA = 8, 9
_LAST_TOPS = {PATCH_MESSAGE: 63, TONE_MESSAGE: 85}

_VALUES = {
    "dco1_tune": 20, "dco1_lfo": 21, "dco1_env": 22,
    "dco2_tune": 23, "dco2_fine": 24, "dco2_lfo": 25, "dco2_env": 26,
    "mix_dco1": 33, "mix_dco2": 34, "mix_env": 35,
    "vcf_freq": 36, "vcf_res": 37, "vcf_lfo": 38, "vcf_env": 40, "vcf_key": 41,
    "vca_level": 42, "lfo_delay": 43, "lfo_rate": 44,
    "env1_a": 63, "env1_d": 64, "env1_s": 65, "env1_r": 66,
    "env2_a": 67, "env2_d": 68, "env2_s": 69, "env2_r": 70,
}  # fmt: skip
"""Where a value of 0..127 stands in a tone message."""

_PLAIN = (0, 1, 2, 3)
_CHORUSES = (0, 1, 2, 2)
_KEYS = _PLAIN * 2
_WAVES = (0, 1, 2, 2, 2, 2, 2, 2)
_SOURCES = (2, 3, 0, 1) * 2
_VCA_SOURCES = (1, 1, 0, 0, 1, 1, 1, 1)

_SWITCHES = {
    "dco1_range": (73, 0, _PLAIN), "dco1_wave": (73, 2, _PLAIN),
    "dco2_range": (73, 4, _PLAIN), "dco2_wave": (73, 6, _PLAIN),
    "dco_xmod": (74, 0, _PLAIN), "dco1_dyn": (74, 2, _PLAIN), "dco2_dyn": (74, 4, _PLAIN), "mix_dyn": (74, 6, _PLAIN),
    "hpf": (77, 6, _PLAIN),
    "dco1_mode": (78, 0, _SOURCES), "dco2_mode": (78, 3, _SOURCES), "vca_dyn": (78, 6, _PLAIN),
    "mix_mode": (79, 0, _SOURCES), "vcf_mode": (79, 3, _SOURCES), "vcf_dyn": (79, 6, _PLAIN),
    "vca_mode": (81, 0, _VCA_SOURCES), "lfo_wave": (81, 3, _WAVES), "chorus": (81, 6, _CHORUSES),
    "env1_key": (82, 3, _KEYS), "env2_key": (84, 0, _KEYS),
}  # fmt: skip
"""Switches of a tone: position, lowest bit, classic code of each v4 code (4 of them fill two bits, 8 three)."""


def decode_number(message: bytes) -> int:
    """The memory number of a tone or patch message. Raises ValueError for another length."""
    if len(message) not in (TONE_MESSAGE, PATCH_MESSAGE):
        raise ValueError(f"a v4 bulk message is {PATCH_MESSAGE} or {TONE_MESSAGE} bytes, not {len(message)}")
    return message[_NUMBER] & 0x7F


def decode_tone(message: bytes) -> Tone:
    """The classic tone nearest to that of a whole message. Raises ValueError for another length.

    Classic ENV-1 is v4's ENV3, classic ENV-2 its ENV4. What a classic tone cannot hold becomes:

    - modulation by the multi-stage ENV1 or ENV2: by classic ENV-1 or ENV-2 in the same direction;
    - a VCA on ENV2: gate, which is how v4 stores a classic gate; on ENV1 or ENV3: ENV-2;
    - dynamics and envelope mode of each DCO: DCO-1's, or DCO-2's if only that one has envelope depth;
    - an LFO wave of saw or inverted saw: sine; looped envelopes: not looped, the same key follow;
    - LFO depths: kept, as if of LFO1 upright; VCF depth of LFO2, pulse widths, ENV1, ENV2, LFO2, LFO
      sync and LFO level: dropped.
    """
    if len(message) != TONE_MESSAGE:
        raise ValueError(f"a v4 tone message is {TONE_MESSAGE} bytes, not {len(message)}")
    data = bytearray(b & 0x7F for b in message)
    data[73:80] = _unpack(data[73:81])
    data[81:85] = _unpack(data[81:86])
    found = {name: data[at] for name, at in _VALUES.items()}
    found |= {name: codes[data[at] >> low & len(codes) - 1] for name, (at, low, codes) in _SWITCHES.items()}
    leads = "dco2" if found["dco2_env"] and not found["dco1_env"] else "dco1"
    found |= {"dco_dyn": found[f"{leads}_dyn"], "dco_mode": found[f"{leads}_mode"]}
    return Tone(decode_name(data[_DATA : _DATA + NAME_LENGTH]), **{name: found[name] for name in PARAMETERS})


def decode_patch(message: bytes) -> Patch:
    """The patch of a whole message: the memory image of a classic dump. Raises ValueError for another length."""
    if len(message) != PATCH_MESSAGE:
        raise ValueError(f"a v4 patch message is {PATCH_MESSAGE} bytes, not {len(message)}")
    return Patch.decode_image(_unpack(bytes(b & 0x7F for b in message[_DATA:-2])))


def is_sound(message: bytes) -> bool:
    """Whether a message's checksum fits."""
    last = _LAST_TOPS[len(message)]
    return sum(message[at] for at in range(_DATA, last) if at % 8) & 0x7F == message[-2]


def _unpack(data: bytes) -> bytes:
    """Groups of up to seven bytes, each followed by one with their top bits, as 8-bit bytes."""
    out = bytearray()
    for start in range(0, len(data), 8):
        *low, tops = data[start : start + 8]
        out += bytes(b | tops << at & 0x80 for at, b in enumerate(low, 8 - len(low)))
    return bytes(out)
