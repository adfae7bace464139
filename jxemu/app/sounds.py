"""From what a command is asked for to patches, tones and channels."""

from jxemu.app.files import fail
from jxemu.patch.bank import find
from jxemu.patch.memory import Memory, whole
from jxemu.patch.patch import Patch
from jxemu.patch.tone import Tone


def part_channels(upper: int | None, lower: int | None, control: int | None) -> dict[int, str] | None:
    """MIDI channels 1..16 and the parts they play, None if none is given; a channel given twice ends the command."""
    for channel, others in ((upper, (lower, control)), (lower, (control,))):
        if channel is not None and channel in others:
            fail(f"channel {channel} is given twice: to play both halves on one channel, give it as --control-channel")
    named = {upper: "upper", lower: "lower", control: "control"}
    return {number: where for number, where in named.items() if number is not None} or None


def chosen_sound(memory: Memory, tone: str | None, patch: str | None) -> tuple[Patch, Tone | None]:
    """The patch that is asked for, or the tone and a plain patch for it; what is not there ends the command."""
    bank = memory.internal
    if tone and patch:
        fail("choose a tone or a patch, not both")
    try:
        if patch is not None:
            if not bank.patches and bank.chains:
                chained = _chained(memory)
                place = find([played for played, _ in chained], patch)
                if chained[place][1] is None:
                    fail(f"patch {place + 1} plays tone {bank.chains[place].program + 1}, which the bank does not have")
                return chained[place]
            if not bank.patches:
                fail("the bank holds no patch; choose a tone")
            return bank.patches[find(bank.patches, patch, bank.patch_numbers)], None
        if not bank.tones:
            fail("the bank holds no tone; choose a patch")
        place = find(bank.tones, tone, bank.tone_numbers) if tone is not None else 0
        return whole(bank.tones[place], bank.tone_numbers[place]), bank.tones[place]
    except KeyError as error:
        fail(error.args[0])


def _chained(memory: Memory) -> list[tuple[Patch, Tone | None]]:
    """The patch chains of a JX-8P file as patches, each named after its tone, and that tone."""
    chains = memory.internal.chains
    tones = [memory.jx8p_tone(chain.program) for chain in chains]
    return [(chain.patch(tone.name if tone else ""), tone) for chain, tone in zip(chains, tones, strict=True)]
