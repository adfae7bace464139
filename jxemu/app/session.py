"""A sitting at the instrument: what is edited, how it was before, the memory, tags, and what the panel asks for.

The instrument itself is the truth: whatever changes its patch or tones (panel, MIDI, sysex, program
changes) becomes a step that can be undone. Requests come from browsers, so every one is checked.
"""

import contextlib
import hashlib
import io
import json
import random
import time
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from jxemu.app.files import bank_of
from jxemu.app.recorder import Recorder, new_take
from jxemu.live.midi import checked, scaled, write_whole
from jxemu.live.player import Player
from jxemu.machine import Event
from jxemu.patch import explore
from jxemu.patch.bank import FORMATS, Bank
from jxemu.patch.memory import Memory, whole
from jxemu.patch.parameter import PARAMETERS
from jxemu.patch.patch import HALVES, PATCH, Patch
from jxemu.patch.record import Record
from jxemu.patch.sysex import SysexError
from jxemu.patch.tone import Tone

PATCHES, TONES = 64, 100
SAME_GESTURE = 0.8
"""Seconds within which moves of one control are one step of undo."""

FEW = 12
"""Controls that differ between a sound and its edited version, at most; more are another sound."""

LARGEST_UPLOAD = 1 << 20
KEPT_MEMORY = ("internal", "cartridge")


class RequestError(ValueError):
    """A request that cannot be done; the message is for the player."""


@dataclass(frozen=True)
class Sound:
    """What plays: a patch and its two tones, and the program number it came with."""

    patch: Patch
    upper: Tone
    lower: Tone
    program: int = field(default=0, compare=False)

    def changes_to(self, other: "Sound") -> list[str]:
        """What is not the same in another, as ``part.name``."""
        out = [f"patch.{key}" for key, value in other.patch if value != getattr(self.patch, key)]
        for half in HALVES:
            mine, theirs = getattr(self, half), getattr(other, half)
            out += [f"{half}.{key}" for key, value in theirs if value != getattr(mine, key)]
        return out + ["name"] * ((self.patch.name, self.upper.name, self.lower.name) != other._names)

    @property
    def _names(self) -> tuple[str, str, str]:
        return self.patch.name, self.upper.name, self.lower.name


class Library:
    """Favourites and tags of tones and patches, by what they are, not where they stand; kept in a file."""

    def __init__(self, path: Path | None, say: Callable[[str], None]):
        self._path, self._say = path, say
        self.rows: dict[str, dict[str, Any]] = {}
        if path:
            try:
                rows = json.loads(path.read_text())["sounds"]
                self.rows = {
                    str(key): {"favourite": bool(row["favourite"]), "tags": [str(tag) for tag in row["tags"]]}
                    for key, row in rows.items()
                }
            except FileNotFoundError:
                pass
            except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
                say(f"{path} cannot be read ({error}): favourites and tags start anew; the file is kept as it is")
                self._path = None

    @staticmethod
    def key(record: Record) -> str:
        """What a tone or patch is known by: name and values."""
        return hashlib.sha256(repr((record.KIND, record.name, sorted(record.values().items()))).encode()).hexdigest()[
            :16
        ]

    def marks(self, key: str) -> dict[str, Any]:
        """Favourite and tags of a sound."""
        return self.rows.get(key, {"favourite": False, "tags": []})

    def mark(self, key: str, favourite: bool, tags: list[str]) -> None:
        """Set favourite and tags of a sound."""
        self.rows[key] = {"favourite": favourite, "tags": sorted(set(tags))}
        if not (favourite or tags):
            del self.rows[key]
        if self._path:
            try:
                write_whole(self._path, json.dumps({"sounds": self.rows}, indent=1))
            except OSError as error:
                self._say(f"{self._path} cannot be written ({error.strerror}): favourites and tags will be forgotten")


class Session:
    """The instrument, its memory, and its history.

    home : folder for favourites and tags, or None.  takes : folder for recordings.
    say : takes sentences for the player.
    """

    def __init__(self, player: Player, recorder: Recorder, takes: Path, home: Path | None, say: Callable[[str], None]):
        self.player, self.recorder, self.takes, self.say = player, recorder, takes, say
        self.library = Library(home / "library.json" if home else None, say)
        self.revision = 0  # counts changes of anything that `state` tells
        self.bank_revision = 0
        self.taken: dict[str, Path] = {}
        self.matched: list[Tone] = []  # what was found for the last sound, the nearest first
        self._past: list[tuple[Sound, Sound]] = []  # each with what it was an edit of
        self._future: list[tuple[Sound, Sound]] = []
        self._now = self._playing()
        self.original = self._now
        self._edited: Sound | None = None  # kept while the original is heard
        self._gesture: tuple[str, float] = ("", 0.0)
        self._memory = self.memory
        self._controls, self._learning = {}, ()
        explore.Prior.load()  # now, not under somebody's hands
        self._seed = random.SystemRandom().randrange(1 << 30)

    # --- what is ---

    @property
    def memory(self) -> Memory:
        """Internal memory and cartridge of the instrument."""
        return self.player.machine.assigner.memory

    def _playing(self) -> Sound:
        with self.player.lock:
            tones = self.player.tones
            return Sound(self.player.patch, tones["upper"], tones["lower"], self.player.machine.assigner.program)

    def look(self) -> bool:
        """See whether the instrument has changed since the last look, and remember how it was."""
        with self.player.lock:
            return self._look()

    def _look(self) -> bool:
        changed = False
        now = self._playing()
        if now != self._now and self.player.settled:
            self._remember(now)
            changed = True
        if self.memory is not self._memory:
            self._memory = self.memory
            self.bank_revision += 1
            changed = True
        learned, player = self.player.learned, self.player
        learning = (
            learned.waiting, tuple(learned.controls.items()), self.recorder.running, player.machine.assigner.program,
            tuple(player.arpeggiator.settings.items()), player.output_name,
        )  # fmt: skip
        if learning != self._learning or self.player.controls != self._controls:
            self._learning, self._controls = learning, dict(self.player.controls)
            changed = True
        self.revision += changed
        return changed

    def _remember(self, now: Sound) -> None:
        changes = self._now.changes_to(now)
        gesture = changes[0].split(".")[-1] if len({change.split(".")[-1] for change in changes}) == 1 else ""
        same = gesture and gesture == self._gesture[0] and time.monotonic() - self._gesture[1] < SAME_GESTURE
        if not same:
            self._keep()
        self._future.clear()
        self._gesture = gesture, time.monotonic()
        if len(changes) > FEW or now.program != self._now.program:  # another sound, not an edit of this one
            self.original = now
        self._now = now

    def _keep(self) -> None:
        """Make what plays a step to go back to, and before it the edited sound where the original was compared."""
        if self._edited:
            self._past.append((self._edited, self.original))
            self._edited = None
        self._past.append((self._now, self.original))
        self._future.clear()

    def state(self) -> dict[str, Any]:
        """All that the panel shows of the sound."""
        assigner = self.player.machine.assigner
        sound = self._now
        return {
            "is": "state",
            "revision": self.revision,
            "program": assigner.program,
            "halves": list(assigner.halves),
            "patch": {"name": sound.patch.name, "values": sound.patch.values()},
            **{half: {"name": getattr(sound, half).name, "values": getattr(sound, half).values()} for half in HALVES},
            "undo": len(self._past),
            "redo": len(self._future),
            "comparing": self._edited is not None,
            "edited": sound != self.original,
            "arpeggiator": self.player.arpeggiator.settings,
            "learning": self.player.learned.waiting,
            "learned": [{"controller": n, **control} for n, control in sorted(self.player.learned.controls.items())],
            "send_edits": self.player.send_edits,
            "midi_out": self.player.output_name,
            "controls": self.player.controls,
            "recording": str(self.recorder.path) if self.recorder.running else "",
            "taken": list(self.taken),
        }

    def browser(self) -> dict[str, Any]:
        """Every tone and patch in memory, with tags, and the names of the tones found for a sound."""
        rows = []
        for place in KEPT_MEMORY:
            bank = getattr(self.memory, place)
            for kind in ("patch", "tone"):
                records = getattr(bank, f"{kind}s" if kind == "tone" else "patches") if bank else []
                numbers = getattr(bank, f"{kind}_numbers") if bank else []
                for number, record in zip(numbers, records, strict=True):
                    key = self.library.key(record)
                    marks = self.library.marks(key)
                    rows.append(
                        {
                            "kind": kind,
                            "place": place,
                            "number": number,
                            "name": record.name.strip(),
                            "key": key,
                            **marks,
                        }
                    )
        return {"is": "browser", "rows": rows, "matched": [tone.name.strip() for tone in self.matched]}

    # --- requests ---

    def do(self, request: Any) -> None:
        """Do what a browser asks for. Raises RequestError for what cannot be done."""
        if not isinstance(request, dict) or not isinstance(request.get("do"), str):
            raise RequestError("a request is an object with a word under 'do'")
        handler = getattr(self, f"_do_{request['do']}", None)
        if handler is None:
            raise RequestError(f"there is nothing called {request['do'][:40]!r} to do")
        arguments = {key: value for key, value in request.items() if key != "do"}
        try:
            with contextlib.nullcontext() if request["do"] == "record" else self.player.lock:
                handler(**arguments)
        except TypeError as error:
            raise RequestError(f"{request['do']}: {error}") from None
        except (ValueError, KeyError, IndexError, OverflowError, OSError) as error:
            raise RequestError(str(error.args[-1] if error.args else error)) from None

    def _do_set(self, kind: str, name: str, value: int, part: str = "control") -> None:
        _whole_number(value)
        rows = {"parameter": PARAMETERS, "setting": PATCH}.get(kind)
        if rows is None or name not in rows:
            raise RequestError(f"there is no {kind} {name!r}")
        rows[name].parse(value)
        self.player.move({"kind": kind, "name": name, "part": _part(part)}, value)

    def _do_control(self, name: str, value: int) -> None:
        _whole_number(value)
        control = checked({"kind": "control", "name": name})
        if not 0 <= value <= 127:
            raise RequestError(f"{name} goes from 0 to 127")
        self.player.move(control, scaled(control, value))

    def _do_note(self, on: bool, key: int, velocity: int = 100) -> None:
        if not (0 <= _whole_number(key) <= 127 and 0 <= _whole_number(velocity) <= 127):
            raise RequestError("keys and velocities go from 0 to 127")
        self.player.note("note_on" if on else "note_off", key, velocity if on else 0)

    def _do_panic(self) -> None:
        self.player.panic()

    def _do_program(self, number: int) -> None:
        if not 0 <= _whole_number(number) <= 127:
            raise RequestError("programs go from 0 to 127")
        before = self._playing()
        self.player.play(Event(0.0, "program", number))
        if self.player.settled and self._playing() == before and self.player.machine.assigner.program != number:
            raise RequestError(f"there is nothing in program {number + 1}")

    def _do_step(self, way: int) -> None:
        self.player.step_program(1 if way > 0 else -1)

    def _do_load(self, kind: str, place: str, number: int, half: str = "control") -> None:
        """Play a patch, or a tone on all voices or on one half."""
        record = self._stored(kind, place, number)
        if kind == "patch":
            memory = Memory(self.memory.cartridge) if place == "cartridge" else self.memory
            if missing := memory.missing(record):
                raise RequestError(f"the bank has no tone {missing[0] + 1}, which the patch asks for")
            self.player.play(Event(0.0, "patch", (record, *memory.tones(record))))
            self.player.machine.assigner.program = number + 64 * (place == "cartridge")
        else:
            assigner = self.player.machine.assigner
            self.player.play(Event(0.0, "tone", record, _part(half)))
            if place == "internal":  # the patch plays that memory now
                played = {f"{each}_tone": number for each in assigner.halves_of(half)}
                assigner.settle(assigner.patch.replace(**played), assigner.tones)
                assigner.program = number if len(assigner.roles) == 1 else assigner.program
        self.look()
        self.original = self._now

    def _stored(self, kind: str, place: str, number: int) -> Record:
        if kind not in ("patch", "tone") or place not in KEPT_MEMORY:
            raise RequestError(f"there is no {kind} memory {place!r}")
        bank = getattr(self.memory, place)
        record = getattr(bank, kind)(_whole_number(number)) if bank else None
        if record is None:
            raise RequestError(f"there is nothing in {place} {kind} {number + 1}")
        return record

    def _do_store(self, kind: str, number: int, name: str = "", half: str = "upper", place: str = "internal") -> None:
        """Write the edited patch or a half's tone to memory."""
        if place not in KEPT_MEMORY or kind not in ("patch", "tone"):
            raise RequestError(f"there is no {kind} memory {place!r}")
        if not 0 <= _whole_number(number) < (PATCHES if kind == "patch" else TONES):
            raise RequestError(f"patches go from 1 to {PATCHES}, tones from 1 to {TONES}")
        self._look()
        if not self.player.settled:
            raise RequestError("the wire is busy: write again in a moment")
        if self._edited:
            raise RequestError("the sound as it was loaded is heard: leave the comparison to write the edited one")
        record = self._now.patch if kind == "patch" else getattr(self._now, _half(half))
        if not isinstance(name, str) or not all(" " <= letter <= "~" for letter in name):
            raise RequestError("names are letters, digits and signs of the instrument's display")
        record = record.replace(name or None)
        held = (getattr(self.memory, place) or Bank()).copy()
        if kind == "patch" and not held.patches:  # until now each tone was a patch; so they stay
            plain = [whole(tone, n) for n, tone in zip(held.tone_numbers, held.tones, strict=True) if n < PATCHES]
            held.write(Bank(patches=plain, patch_numbers=[patch.upper_tone for patch in plain]))
        held.write(Bank(**{f"{kind}s" if kind == "tone" else "patches": [record], f"{kind}_numbers": [number]}))
        self._set_memory(place, held)
        self._play_sound(replace(self._now, **{"patch" if kind == "patch" else half: record}))
        self.original = self._now
        self.say(f"{kind} {number + 1} is now {record.name}{self._unsaved_tones() if kind == 'patch' else ''}")

    def _unsaved_tones(self) -> str:
        """A reminder that a patch holds tone numbers, where a tone it plays is not as in memory."""
        tones = {self._now.patch.upper_tone: self._now.upper, self._now.patch.lower_tone: self._now.lower}
        edited = [tone.name for number, tone in tones.items() if self.memory.tone(number) != tone]
        return f"; it names its tones by number, so write {' and '.join(edited)} too" if edited else ""

    def _set_memory(self, place: str, bank: Bank) -> None:
        assigner = self.player.machine.assigner
        assigner.replace_memory(replace(assigner.memory, **{place: bank}))
        self.look()

    def take_bank(self, data: bytes, place: str, name: str) -> str:
        """A bank from a file's bytes into a memory; a sentence on what it was. Raises RequestError."""
        if place not in KEPT_MEMORY:
            raise RequestError(f"there is no memory {place!r}")
        if len(data) > LARGEST_UPLOAD:
            raise RequestError(f"{name}: {len(data)} bytes are too many for a bank")
        try:
            bank = bank_of(data, name)
        except SysexError as error:
            raise RequestError(str(error)) from None
        if len(bank.tones) == 1 and not bank.patches:
            with self.player.lock:
                self._new_tone(self.player.machine.assigner.halves[0], bank.tones[0])
            return f"{name}: tone {bank.tones[0].name} plays; memory is as it was"
        with self.player.lock:
            self._set_memory(place, bank)
        skipped = f"; {bank.skipped[0]}" if bank.skipped else ""
        return f"{name}: {len(bank.patches)} patches and {len(bank.tones)} tones in {place} memory{skipped}"

    def bank_file(self, kind: str, place: str) -> tuple[bytes, str]:
        """A memory as a file of a format and its suffix; where one has no room for it all, files in a ZIP.

        Raises RequestError.
        """
        bank = getattr(self.memory, place, None) if place in KEPT_MEMORY else None
        if bank is None or kind not in FORMATS:
            raise RequestError(f"there is no {place!r} memory to write as {kind!r}")
        try:
            files = bank.encode(kind)
        except ValueError as error:
            raise RequestError(str(error)) from None
        suffix = {"json": "json", "cartridge": "bin"}.get(kind, "syx")
        if len(files) == 1:
            return files[0], suffix
        packed = io.BytesIO()
        with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
            for number, data in enumerate(files, 1):
                archive.writestr(f"{place}-{number}.{suffix}", data)
        return packed.getvalue(), "zip"

    # --- history ---

    def _do_undo(self) -> None:
        self._look()
        if self._edited:
            self._do_compare()
        else:
            self._step(self._past, self._future, "undo")

    def _do_redo(self) -> None:
        self._look()
        if self._edited:
            self._do_compare()
        self._step(self._future, self._past, "redo")

    def _step(self, source: list, other: list, what: str) -> None:
        if not source:
            raise RequestError(f"there is nothing to {what}")
        other.append((self._now, self.original))
        sound, self.original = source.pop()
        self._play_sound(sound)

    def _do_compare(self) -> None:
        """Hear the sound as it was loaded, or again as it is edited."""
        self._look()
        edited = self._edited
        kept = None if edited else self._now
        self._play_sound(edited or self.original)
        self._edited = kept

    def _play_sound(self, sound: Sound) -> None:
        """Let a sound play, without a step of its own: single controls where few differ, else a change of patch."""
        assigner, player = self.player.machine.assigner, self.player
        single = [change.split(".") for change in self._playing().changes_to(sound) if change != "name"]
        if (
            not player.settled
            or len(single) > FEW
            or any(name.endswith(("_tone", "_assign", "key_mode")) for _, name in single)
        ):
            player.play(Event(0.0, "patch", (sound.patch, sound.upper, sound.lower)))
        else:
            for part, name in single:
                if part == "patch":
                    player.play(Event(0.0, "setting", (name, getattr(sound.patch, name))))
                elif part in assigner.halves:
                    player.play(Event(0.0, "parameter", (name, getattr(getattr(sound, part), name)), part))
            assigner.settle(sound.patch, {"upper": sound.upper, "lower": sound.lower})
        assigner.program = sound.program
        self._now, self._gesture, self._edited = sound, ("", 0.0), None
        self.revision += 1

    # --- new tones ---

    def _do_random(self, half: str = "upper", locked: list[str] | None = None) -> None:
        """A tone as real ones are; locked sections stay."""
        rng = random.Random(self._next_seed())
        kept = {name: v for name, v in self._tone(half).values().items() if name in _names(locked)}
        values = explore.Prior.load().sample(rng, kept)
        self._new_tone(half, Tone("RANDOM", **values))

    def _do_mutate(self, half: str = "upper", amount: float = 0.2, locked: list[str] | None = None) -> None:
        free = [section for section in explore.SECTIONS if section not in _sections(locked)]
        self._new_tone(
            half, explore.mutate(self._tone(half), self._next_seed(), amount, free) if free else self._tone(half)
        )

    def _do_morph(
        self, place: str, number: int, x: float, half: str = "upper", locked: list[str] | None = None
    ) -> None:
        """A tone between the one that was loaded and another in memory."""
        free = [section for section in explore.SECTIONS if section not in _sections(locked)]
        begin = getattr(self.original, _half(half))
        self._new_tone(half, explore.morph(begin, self._stored("tone", place, number), float(x), free))

    def take_matched(self, tones: list[Tone]) -> None:
        """Tones that were found for a sound; they can be played until the next sound comes."""
        self.matched = tones
        self.bank_revision += 1

    def _do_matched(self, number: int, half: str = "upper") -> None:
        if not 0 <= number < len(self.matched):
            raise RequestError("there is no such candidate")
        self._new_tone(half, self.matched[number])

    def _tone(self, half: str) -> Tone:
        return getattr(self._playing(), _half(half))

    def _next_seed(self) -> int:
        self._seed += 1
        return self._seed

    def _new_tone(self, half: str, tone: Tone) -> None:
        self._look()
        self._keep()
        whole = self.player.machine.assigner.halves == (half,) and len(self.player.machine.assigner.roles) == 1
        both = {"upper": tone, "lower": tone} if whole else {half: tone}
        self._play_sound(replace(self._now, **both))

    # --- the rest ---

    def _do_mark(self, key: str, favourite: bool | None = None, tags: list[str] | None = None) -> None:
        before = self.library.marks(key) if isinstance(key, str) and len(key) == 16 else None
        favourite = before["favourite"] if favourite is None and before else favourite
        tags = before["tags"] if tags is None and before else tags
        if before is None or not isinstance(tags, list) or len(tags) > 20:
            raise RequestError("marks are of a sound in memory: whether it is a favourite, and up to 20 tags")
        if not all(isinstance(tag, str) and 0 < len(tag) <= 40 for tag in tags):
            raise RequestError("a tag is a word of up to 40 letters")
        self.library.mark(key, bool(favourite), tags)
        self.bank_revision += 1

    def _do_arpeggiator(self, **settings: Any) -> None:
        self.player.arpeggiate(**settings)
        self.revision += 1

    def _do_learn(self, control: dict[str, str] | None = None) -> None:
        self.player.learned.learn(control)
        self.revision += 1

    def _do_forget(self, control: dict[str, str]) -> None:
        self.player.learned.forget(control)
        self.revision += 1

    def _do_send_edits(self, on: bool) -> None:
        if on and not self.player.output_name:
            raise RequestError("there is no MIDI output to send edits to; start with --midi-out")
        self.player.send_edits = bool(on)
        self.revision += 1

    def _do_record(self, on: bool) -> None:
        if on:
            self.recorder.start(new_take(self.takes))
        elif path := self.recorder.stop():
            log = path.with_suffix(".jxlog")
            self.recorder.save_log(log)
            self.taken |= {path.name: path, log.name: log}
            self.say(f"recorded {path} ({self.recorder.frames / self.player.machine.sample_rate:.1f} s) and {log.name}")
        self.revision += 1


def _whole_number(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise RequestError(f"{value!r} is not a whole number")
    return value


def _half(half: str) -> str:
    if half not in HALVES:
        raise RequestError(f"there is no half {half!r}")
    return half


def _part(part: str) -> str:
    return part if part == "control" else _half(part)


def _sections(locked: list[str] | None) -> set[str]:
    if not isinstance(locked, list | None) or not all(section in explore.SECTIONS for section in locked or []):
        raise RequestError(f"locks are among {', '.join(explore.SECTIONS)}")
    return set(locked or [])


def _names(locked: list[str] | None) -> set[str]:
    return {name for section in _sections(locked) for name in explore.SECTIONS[section]}
