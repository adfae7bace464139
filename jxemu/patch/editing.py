"""Banks tidied up: de-duplicated, extracted, compared."""

from collections.abc import Iterable
from itertools import zip_longest

from jxemu.patch.bank import Bank, follows, free_number, renumbered
from jxemu.patch.patch import Patch
from jxemu.patch.record import Record
from jxemu.patch.tone import Tone


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
        places[number] = free_number(kept[sound])
    patches: dict[tuple, Patch] = {}
    for patch in (renumbered(patch, places) for patch in bank.patches):
        settings = tuple(patch.values().values())
        if settings in patches:
            dropped.append((patch, patches[settings]))
        else:
            patches[settings] = patch
    numbers = [free_number(place) for place in range(len(tones))]
    chains = [chain for chain in (follows(chain, places) for chain in bank.chains) if chain]
    return Bank(tones, list(patches.values()), chains, numbers, channel=bank.channel), dropped


def extracted(bank: Bank, tones: Iterable[int], patch_places: Iterable[int]) -> Bank:
    """Some tones and patches by their place in the bank; patches bring the tones they use."""
    chosen = [bank.patches[place] for place in dict.fromkeys(patch_places)]
    places = list(dict.fromkeys(tones))
    for patch in chosen:
        for number in (patch.upper_tone, patch.lower_tone):
            if number in bank.tone_numbers and (place := bank.tone_numbers.index(number)) not in places:
                places.append(place)
    new = {bank.tone_numbers[place]: free_number(at) for at, place in enumerate(places)}
    patches = [renumbered(patch, new) for patch in chosen]
    return Bank([bank.tones[place] for place in places], patches, tone_numbers=list(new.values()))


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
    for number, (mine, theirs) in enumerate(zip_longest(first.chains, second.chains)):
        if mine != theirs:
            out.append(("chain", number, mine, theirs))
    return out
