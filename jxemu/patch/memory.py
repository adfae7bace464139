"""What an instrument has in reach: its internal memory, a cartridge, and the tones in its ROM.

The ROM tones of the real machines are Roland's and not here; the project's own factory tones stand
in their places, those numbered like ROM tones in their own.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from jxemu.patch.bank import ROM_TONES, Bank
from jxemu.patch.factory import factory_bank
from jxemu.patch.patch import Patch
from jxemu.patch.tone import Tone

JX8P_CARTRIDGE, JX8P_PRESETS, PATCH_CARTRIDGE = 32, 64, 64
"""First program number of each memory. Source: S1, S8."""


@dataclass
class Memory:
    """Internal memory and cartridge; programs count from 0 as MIDI sends them."""

    internal: Bank = field(default_factory=factory_bank)
    cartridge: Bank | None = None

    def tone(self, number: int) -> Tone | None:
        """A Super JX tone, 0..99; those of the ROM are factory tones. None where there is none."""
        tone = self.internal.tone(number)
        if tone is None and number in ROM_TONES:
            return factory_bank().tone(number % len(factory_bank().tones))
        return tone

    def patch(self, program: int) -> Patch | None:
        """A Super JX patch: 0..63 internal, 64..127 cartridge; None where there is none.

        A bank that holds no patches has one for each tone: whole, and otherwise plain.
        """
        bank, number = self.internal, program
        if program >= PATCH_CARTRIDGE:
            bank, number = self.cartridge or Bank(), program - PATCH_CARTRIDGE
        if bank.patches:
            return bank.patch(number)
        tone = bank.tone(number)
        return None if tone is None else whole(tone, number)

    def holder(self, program: int) -> "Memory":
        """Where the tones of a patch are: those of a cartridge's patches on the cartridge."""
        return Memory(self.cartridge) if program >= PATCH_CARTRIDGE and self.cartridge else self

    def missing(self, patch: Patch) -> list[int]:
        """Tone numbers a patch asks for that are nowhere."""
        return sorted({number for number in _numbers(patch) if self.tone(number) is None})

    def tones(self, patch: Patch, instead: Sequence[Tone] = (Tone(), Tone())) -> tuple[Tone, Tone]:
        """Upper and lower tone of a patch, also the one that a whole mode silences.

        Where that one is missing it is the one that sounds, and where this is missing one of `instead`.
        """
        own, sounding = (patch.upper_tone, patch.lower_tone), _numbers(patch)
        upper, lower = (
            self.tone(number) or self.tone(heard) or tone
            for number, heard, tone in zip(own, sounding, instead, strict=True)
        )
        return upper, lower

    def stand_ins(self, patch: Patch) -> dict[int, Tone]:
        """ROM tones a patch asks for, and the factory tones that sound in their place."""
        return {
            n: self.tone(n) for n in sorted(set(_numbers(patch))) if n in ROM_TONES and self.internal.tone(n) is None
        }

    def jx8p_tone(self, program: int) -> Tone | None:
        """A JX-8P tone: 0..31 internal, 32..63 cartridge, 64..127 presets (factory tones).

        Without a cartridge a larger internal bank goes on where it would be.
        """
        if program >= JX8P_PRESETS:
            return factory_bank().tone(program - JX8P_PRESETS)
        if program >= JX8P_CARTRIDGE and self.cartridge:
            return self.cartridge.tone(program - JX8P_CARTRIDGE)
        return self.internal.tone(program)


def whole(tone: Tone, number: int = 0) -> Patch:
    """The patch that plays one tone on all voices and lets every controller through whole."""
    return Patch(tone.name, key_mode="whole-a", upper_tone=number, lower_tone=number, upper_lfo=127, lower_lfo=127)


def _numbers(patch: Patch) -> tuple[int, int]:
    """Tone numbers of the upper and the lower half as they sound."""
    whole_of = {"whole-a": (patch.upper_tone,) * 2, "whole-b": (patch.lower_tone,) * 2}
    return whole_of.get(str(patch.plain()["key_mode"]), (patch.upper_tone, patch.lower_tone))
