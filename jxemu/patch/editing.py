"""Banks taken apart and put together: merge, de-duplicate, extract, compare."""

from collections.abc import Iterable, Sequence

from jxemu.patch.bank import ROM_TONES, Bank
from jxemu.patch.patch import HALVES, Patch
from jxemu.patch.record import Record
from jxemu.patch.tone import Tone


def _renumbered(patch: Patch, places: dict[int, int]) -> Patch:
    """A patch whose internal tones have moved."""
    moved = {f"{half}_tone": places[n] for half in HALVES if (n := getattr(patch, f"{half}_tone")) in places}
    return patch.replace(**moved)


def _memory(place: int) -> int:
    """Memory number of the tone at a place; the ROM's numbers stay free, since patches mean the ROM by them."""
    return place if place < ROM_TONES.start else place + len(ROM_TONES)


def merged(banks: Sequence[Bank]) -> Bank:
    """Banks one after another; tones are numbered anew and patches follow theirs."""
    out = Bank()
    for bank in banks:
        places = {}
        for number, tone in zip(bank.tone_numbers, bank.tones, strict=True):
            places[number] = _memory(len(out.tones))
            out.tones.append(tone)
            out.tone_numbers.append(places[number])
        out.patches += [_renumbered(patch, places) for patch in bank.patches]
        out.chains += bank.chains
    out.patch_numbers = list(range(len(out.patches)))
    return out


def deduplicated(bank: Bank) -> tuple[Bank, list[tuple[Record, Record]]]:
    """A bank without tones that sound the same as an earlier one, nor patches equal but for their name.

    Also gives what was dropped, each with what stays in its place.
    """
    kept: dict[tuple, int] = {}
    places, dropped = {}, []
    tones: list[Tone] = []
    for number, tone in zip(bank.tone_numbers, bank.tones, strict=True):
        sound = tuple(tone.values().values())
        if sound in kept:
            dropped.append((tone, tones[kept[sound]]))
        else:
            kept[sound] = len(tones)
            tones.append(tone)
        places[number] = _memory(kept[sound])
    patches: dict[tuple, Patch] = {}
    for patch in (_renumbered(patch, places) for patch in bank.patches):
        settings = tuple(patch.values().values())
        if settings in patches:
            dropped.append((patch, patches[settings]))
        else:
            patches[settings] = patch
    numbers = [_memory(place) for place in range(len(tones))]
    return Bank(tones, list(patches.values()), list(bank.chains), numbers, channel=bank.channel), dropped


def extracted(bank: Bank, tones: Iterable[int], patch_places: Iterable[int]) -> Bank:
    """Some tones and patches by their place in the bank; patches bring the tones they use."""
    chosen = [bank.patches[place] for place in patch_places]
    numbers = [bank.tone_numbers[place] for place in tones]
    for patch in chosen:
        for number in (patch.upper_tone, patch.lower_tone):
            if bank.tone(number) is not None and number not in numbers:
                numbers.append(number)
    places = {number: _memory(place) for place, number in enumerate(numbers)}
    patches = [_renumbered(patch, places) for patch in chosen]
    return Bank([bank.tone(number) for number in numbers], patches, tone_numbers=list(places.values()))


def differences(first: Record, second: Record) -> dict[str, tuple[int | str, int | str]]:
    """Settings in which two records differ, as a person writes them; a name counts as one."""
    named = {"name": (first.name, second.name)} if first.name != second.name else {}
    mine, theirs = first.plain(), second.plain()
    return named | {key: (mine[key], theirs[key]) for key in mine if mine[key] != theirs[key]}


def compared(first: Bank, second: Bank) -> list[tuple[str, int, Record | None, Record | None]]:
    """``(kind, memory number, in the first, in the second)`` wherever two banks are not the same."""
    out = []
    for kind in ("tone", "patch"):
        numbers = set(getattr(first, f"{kind}_numbers")) | set(getattr(second, f"{kind}_numbers"))
        for number in sorted(numbers):
            mine, theirs = getattr(first, kind)(number), getattr(second, kind)(number)
            if mine != theirs:
                out.append((kind, number, mine, theirs))
    return out
