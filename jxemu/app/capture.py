"""``jxemu capture``: a real board plays a log, a song or a dataset, and what it answers is kept."""

import json
import shutil
import tempfile
from collections.abc import Callable, Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
import typer
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from jxemu import protocol
from jxemu.app.board import (
    PROBE,
    VELOCITY,
    CardOption,
    ChannelsOption,
    PortOption,
    RateOption,
    TuneUpOption,
    arrivals,
    opened,
    whole_tone,
)  # fmt: skip
from jxemu.app.files import console, fail, read_bank, say, whole_file
from jxemu.app.options import BankFile, PatchName, ToneName
from jxemu.app.sounds import chosen_sound
from jxemu.clock import CYCLES_PER_BYTE, CYCLES_PER_SECOND, cycles
from jxemu.link import LogError, load_log
from jxemu.machine import Machine
from jxemu.patch.factory import factory_bank
from jxemu.patch.memory import Memory
from jxemu.render.presets import PRESETS
from jxemu.render.score import MidiFileError, load_midi

if TYPE_CHECKING:
    from jxemu.bridge.capture import Patient, Take
    from jxemu.render.items import Draw, Items, Plan
    from jxemu.render.offline import Item
    from jxemu.render.sounds import Sound
    from jxemu.render.spec import Spec

Half = StrEnum("Half", {"lower": "lower", "upper": "upper"})

SHARD = 20
"""Items of a shard at most: what an interrupted capture loses."""

MOST_SILENT = 3
"""Items in a row that may be silent though they should not."""

ROOM_EVERY = 30.0
"""Seconds between looks whether a full disk has room again."""

SPARE = 1 << 20
"""Bytes that a take's file may be longer than its samples."""

TAIL = 2.0
"""Seconds that are heard after the last byte of a log or a song."""

SETTLE = 0.05
"""Seconds between a tone and its first note: five loops of the board's program."""

FLAC_CHANNELS = 8

QUIET_DB, LOUD_DB = -30.0, -3.0
"""Between these the loudest chord should peak."""


def capture(
    source: Annotated[
        str, typer.Argument(help=f"A .jxlog, a MIDI file, a dataset's TOML file, or a preset: {', '.join(PRESETS)}.")
    ],
    output: Annotated[Path, typer.Option("-o", "--output", help="WAV file; for a dataset its folder.")],
    port: PortOption,
    bank: BankFile = None,
    tone: ToneName = None,
    patch: PatchName = None,
    items: Annotated[int | None, typer.Option(min=1, help="Of a dataset: how many, in place of its own.")] = None,
    files: Annotated[list[str] | None, typer.Option(help="Of a dataset: bank or table in place of its own.")] = None,
    only: Annotated[
        Half | None, typer.Option(help="Of a dataset, of two boards: the one that plays what is for a single one; default: both.")
    ] = None,
    tail: Annotated[float, typer.Option(min=0.0, help="Seconds to hear after the last byte of a log or song.")] = TAIL,
    over: Annotated[bool, typer.Option("--over", help="Of a log or song: record over a file that is there.")] = False,
    card: CardOption = None, channels: ChannelsOption = None, rate: RateOption = None, tune_up: TuneUpOption = None,
) -> None:  # fmt: skip
    """Let a real board play, and keep what it answers, aligned to the wire's time; a dataset goes on where it was stopped."""
    kind = "MIDI files" if _is_song(source) else "logs" if source.endswith(".jxlog") else "datasets"
    for option, given, meant in (
        ("--bank", bank, "MIDI files"), ("--tone", tone, "MIDI files"), ("--patch", patch, "MIDI files"),
        ("--items", items, "datasets"), ("--files", files, "datasets"), ("--only", only, "datasets"),
    ):  # fmt: skip
        if given is not None and kind != meant:
            fail(f"{source}: {option} is for {meant}: leave it out")
    if over and kind == "datasets":
        fail(f"{source}: --over is for MIDI files and logs: a dataset goes on where it was stopped")
    log = _wire(source, bank, tone, patch)
    spec = _spec(source, items, files) if log is None else None
    if log is not None and (output.suffix.lower() not in (".wav", ".flac") or not output.resolve().parent.is_dir()):
        fail(f"cannot write {output}: the name must end in .wav or .flac, in a folder that is there")
    if log is not None and output.suffix.lower() == ".flac" and (channels or 0) - 1 > FLAC_CHANNELS:
        fail(
            f"cannot write {output}: FLAC holds {FLAC_CHANNELS} channels, and {channels - 1} are recorded; choose .wav"
        )
    if spec and output.is_file():
        fail(f"cannot write {output}: it is a file, and a dataset needs a folder")
    if log is not None and output.is_dir():
        fail(f"cannot write {output}: it is a folder")
    if log is not None and output.exists() and not over:
        fail(f"{output} is there already, maybe a recording: give another name, or --over to record over it")
    if log is not None:
        try:
            with tempfile.TemporaryFile(dir=output.resolve().parent):
                pass  # better known before half an hour is played than after it
        except OSError as error:
            fail(f"cannot write {output}: {error.strerror}")
    made = opened(port, card, channels, rate, tune_up)
    try:
        if spec:
            _dataset(spec, output, made, {"port": port, "card": card, "only": only and only.value}, only)
        else:
            _sound(log, output, tail, made)
    except KeyboardInterrupt:
        fail(f"stopped; what is done stays in {output}, the same command goes on" if spec else "stopped")
    finally:
        made.close()


def _is_song(source: str) -> bool:
    return source.lower().endswith((".mid", ".midi"))


def _wire(source: str, bank: Path | None, tone: str | None, patch: str | None) -> list[tuple[int, int]] | None:
    """Arrivals of a log or a song, None for a dataset."""
    try:
        if source.endswith(".jxlog"):
            return load_log(source)
        if _is_song(source):
            memory = Memory(read_bank(bank) if bank else factory_bank())
            sound = chosen_sound(memory, tone, patch)
            machine = Machine("superjx" if sound[1] is None else "jx8p", memory=memory)
            machine.load_patch(*sound)
            begin = machine.link.free_at + cycles(SETTLE)
            for event in load_midi(Path(source)):
                machine.assigner.handle(event, begin + cycles(event.at))
            machine.assigner.advance(1 << 62)  # chase play goes on after the last event
            at, data = machine.link.take(1 << 62)
            return list(zip(at.tolist(), data.tolist(), strict=True))
    except (LogError, MidiFileError, ValueError) as error:
        fail(str(error))
    except OSError as error:
        fail(f"cannot read {source}: {error.strerror}")
    return None


def _sound(wire: list[tuple[int, int]], output: Path, tail: float, made: "Patient") -> None:
    import soundfile

    _levels(made)
    seconds = wire[-1][0] / CYCLES_PER_SECOND + tail if wire else tail
    with console.status(f"{seconds:.0f} s are played and heard"):
        take = _performed(made, wire, seconds)
    for trouble in take.troubles:
        say(trouble)
    _wait_for_room(output.resolve().parent, 3 * take.sound.size + SPARE)
    with whole_file(output) as part:
        try:
            soundfile.write(part, take.sound, take.rate, "PCM_24", format=output.suffix[1:].upper())
        except soundfile.SoundFileError as error:
            fail(f"cannot write {output}: {error}")
    typer.echo(
        f"{output}: {len(take.sound) / take.rate:.1f} s, {take.rate} Hz, its clock {take.ppm:+.1f} ppm beside the wire's"
    )


def _free(folder: Path) -> int:
    """Bytes that a folder's disk has room for; none where it is gone."""
    try:
        return shutil.disk_usage(folder).free
    except OSError:
        return 0


def _wait_for_room(folder: Path, needed: int) -> None:
    """A take that has been played is not thrown away because the disk is full."""
    said = False
    while _free(folder) < needed:
        if not said:
            say(
                f"{folder}: the disk is full; the take is kept until there are {needed / 1e6:.0f} MB (Ctrl-C gives it up)"
            )
            said = True
        _wait(ROOM_EVERY)


def _performed(made: "Patient", wire: Sequence[tuple[int, int]], seconds: float) -> "Take":
    from jxemu.bridge.capture import CaptureError

    try:
        return made.perform(wire, seconds)
    except CaptureError as error:
        fail(str(error))


def _levels(made: "Patient") -> dict[str, float]:
    """Play the loudest chord and nothing, and say whether the input's gain is right. Ends the command if it clips."""
    chord = b"".join(protocol.voice_on(voice, 36 + 5 * voice, VELOCITY) for voice in range(protocol.VOICES))
    loud = whole_tone(protocol.SELECT_BOTH, PROBE.replace(chorus="2"))
    end = [(1.0, protocol.silence())]
    take = _performed(made, arrivals([(0.0, loud), (0.0, chord), *end]), 1.1)
    noise = _performed(made, [], 0.5)
    peak = 20 * np.log10(max(float(np.abs(take.sound).max(initial=0)), 1e-7))
    floor = 20 * np.log10(max(float(noise.sound.std(0, dtype=float).max()), 1e-7))
    say(f"the loudest chord peaks at {peak:.1f} dB, noise is at {floor:.1f} dB of full scale")
    if peak > LOUD_DB:
        fail(f"the input is too loud: turn it down by {peak - 2 * LOUD_DB:.0f} dB or more and start again")
    if peak < QUIET_DB:
        say(f"the input is quiet: it could be turned up by {2 * LOUD_DB - peak:.0f} dB")
    return {"peak_db": round(peak, 2), "noise_db": round(floor, 2)}


# --- a dataset -----------------------------------------------------------------------------------


def _dataset(spec: "Spec", output: Path, made: "Patient", about: dict, only: Half | None) -> None:
    from jxemu.render import dataset
    from jxemu.render.card import write_card

    try:
        folder = dataset.create(output, spec)
        with folder.held():
            if any(folder.shard(n).exists() for n in range(spec.shards)) and not folder.captured:
                fail(f"{output} holds a rendered dataset; choose another folder")
            wanted, damaged = dataset.missing(folder, spec)
            for sentence in damaged:
                say(sentence.replace("rendered", "captured"))
            notes = _Notes(output / dataset.CAPTURE)
            if wanted:
                (output / "manifest.json").unlink(missing_ok=True)  # not finished again until all shards are whole
                notes.begin(about | {"rate": made.rate, **_levels(made)})
            with _bar() as bar:
                done = spec.count - sum(len(dataset.indices_of(spec, number)) for number in wanted)
                task = bar.add_task("capturing", total=spec.count, completed=done)
                player = _Player(made, notes, lambda: bar.advance(task), only)
                for number in wanted:
                    _shard(output, number, player, notes, bar, task)
            write_card(folder, spec)
            dataset.finish(folder, spec)
    except dataset.DatasetError as error:
        fail(str(error))
    except OSError as error:
        fail(f"cannot write {output}: {error.strerror}; give the same command again")
    again = f"the board was lost {made.lost} times, {made.repeated} takes were played again; "
    again = again if made.lost + made.repeated else ""
    troubles = f"{len(notes.troubles)} of them with troubles; " if notes.troubles else ""
    typer.echo(
        f"{output}: {spec.count} items captured; {troubles}{again}see {output / 'README.md'} and {output / dataset.CAPTURE}"
    )


def _bar() -> Progress:
    return Progress(
        TextColumn("{task.description}"), BarColumn(), TextColumn("{task.completed}/{task.total}"), TimeElapsedColumn(),
        TimeRemainingColumn(), console=console,
    )  # fmt: skip


def _spec(source: str, items: int | None, files: list[str] | None) -> "Spec":
    """The frozen spec of what a board can give: its sound is stored, in small shards. Ends the command for a wrong one."""
    try:
        import jxemu.render.dataset  # noqa: F401 - needed when the board has been played: better said before
        from jxemu.render.spec import SpecError, checked, read_spec
    except ImportError as error:
        fail(f"{error.name} is not installed; datasets need more libraries: pip install 'jxemu[dataset]'")
    try:
        rows = json.loads(read_spec(source, items, files, say=say).to_json())
    except SpecError as error:
        fail(str(error))
    if rows["store"]["stems"] or rows["store"]["latch"]:
        fail(f"{source} asks for stems or latch, which a real board does not give")
    rows["store"]["audio"] = True
    rows["shard"] = min(rows["shard"], SHARD)
    return checked(rows, source)


class _Notes:
    """``capture.json``: one row a session, and troubles by item."""

    def __init__(self, path: Path):
        self.path = path
        self._rows: dict = {"sessions": [], "troubles": {}}
        if path.exists():
            try:
                self._rows |= json.loads(path.read_text())
            except (OSError, ValueError, TypeError) as error:
                fail(f"{path} cannot be read ({error}): it says what was wrong with which item; put it right, or away")

    def begin(self, about: dict) -> None:
        """A session begins. Ends the command if the board is not played as in those before."""
        for before in self._rows["sessions"]:
            if (before.get("only"), before.get("rate")) != (about["only"], about["rate"]):
                fail(
                    f"{self.path.parent} was captured with --only {before.get('only')} at {before.get('rate')} Hz: "
                    "go on with these"
                )
        self._rows["sessions"].append(about)
        self.write()

    @property
    def troubles(self) -> dict[str, list[str]]:
        """By item."""
        return self._rows["troubles"]

    def trouble(self, item: int, said: list[str]) -> None:
        self._rows["troubles"].pop(str(item), None)
        if said:
            self._rows["troubles"][str(item)] = said

    def write(self) -> None:
        from jxemu.render.dataset import write_whole

        write_whole(self.path, (json.dumps(self._rows, indent=1) + "\n").encode())


def _shard(path: Path, number: int, player: "_Player", notes: _Notes, bar: Progress, task: TaskID) -> None:
    """Capture a shard; a full disk is waited out."""
    from jxemu.render.dataset import DiskFullError, write_shard

    told = False
    while True:
        before = bar.tasks[task].completed
        try:
            write_shard(path, number, source=player.sounds)
            return
        except DiskFullError as error:
            if not told:
                say(f"{error}; or make room now: it is looked for every {ROOM_EVERY:.0f} s")
            told = True
            bar.update(task, completed=before)
            _wait(ROOM_EVERY)


def _wait(seconds: float) -> None:
    import time

    time.sleep(seconds)


class _Player:
    """Items through a real board: a source of `dataset.write_shard`."""

    def __init__(self, made: "Patient", notes: _Notes, tick: Callable[[], None], only: Half | None = None):
        self._made, self._notes, self._tick, self._only = made, notes, tick, only
        self._said: set[str] = set()
        self._silent = 0

    def sounds(self, items: "Items", draws: "Sequence[Draw]") -> "list[Sound]":
        """What the board plays for some items, in their order."""
        from jxemu.render.sounds import stored

        found = []
        for plan in items.plans(draws):
            takes = [self._take(items.spec, item) for item in plan.items()]
            self._notes.trouble(plan.index, [said for take in takes for said in take.troubles])
            self._listen(items.spec, plan, takes)
            found.append(stored(items.spec, plan, np.stack([take.sound for take in takes])))
            if plan.attempt == 0:  # a silent one that is drawn again is no further item
                self._tick()
        return found

    def _listen(self, spec: "Spec", plan: "Plan", takes: "Sequence[Take]") -> None:
        """Say the first trouble of each kind. Raises SourceError where nothing is heard of what the emulator plays aloud."""
        from jxemu.bridge.capture import SILENT
        from jxemu.render.dataset import SourceError
        from jxemu.render.sounds import heard

        self._notes.write()
        for said in (trouble for take in takes for trouble in take.troubles):
            kind = "".join(sign for sign in said if sign.isalpha())
            if kind not in self._said:
                self._said.add(kind)
                say(f"item {plan.index}: {said} (the first of its kind; all are in {self._notes.path})")
        if not all(any(said.startswith(SILENT) for said in take.troubles) for take in takes):
            self._silent = 0
        elif 10 * np.log10(max(float(np.square(heard(spec, plan)).mean()), 1e-20)) > spec.gate.level:
            self._silent += 1
        if self._silent == MOST_SILENT:
            raise SourceError(f"{MOST_SILENT} items in a row were {SILENT}: is the cable in, is the board switched on?")

    def _take(self, spec: "Spec", item: "Item") -> "Take":
        import soxr

        from jxemu.bridge.capture import CaptureError
        from jxemu.render.dataset import SourceError

        wire, lead = wire_of(item, self._only)
        try:
            take = self._made.perform(wire, lead + spec.seconds)
        except CaptureError as error:
            raise SourceError(str(error)) from None
        sound = take.sound[round(lead * take.rate) :]
        if take.rate != spec.machine.sample_rate:
            sound = soxr.resample(sound, take.rate, spec.machine.sample_rate)
        whole = np.zeros((spec.frames, 2), np.float32)
        part = sound[: spec.frames, :2]
        whole[: len(part)] = part  # one channel goes to both
        take.sound = whole
        return take


def wire_of(item: "Item", only: Half | None = None) -> tuple[list[tuple[int, int]], float]:
    """Arrivals of an item at the wire's own pace, and the seconds before its time 0 in which its tone is said.

    only : the board for which all is meant that is for both.
    """
    chosen = {Half.lower: protocol.SELECT_LOWER, Half.upper: protocol.SELECT_UPPER}.get(only, protocol.SELECT_BOTH)
    _, told = Machine.wire_of(item.tone, [], item.lower)
    at, data = Machine.wire_of(item.tone, item.played, item.lower)
    lead = cycles(SETTLE) + CYCLES_PER_BYTE * len(told)
    due = np.where(np.arange(len(at)) < len(told), 0, at + lead)
    found, free_at = [], 0
    for begin, byte in zip(due.tolist(), data.tolist(), strict=True):
        free_at = max(free_at, begin) + CYCLES_PER_BYTE
        found.append((free_at, chosen if byte == protocol.SELECT_BOTH else byte))
    return found, lead / CYCLES_PER_SECOND
