"""``jxemu ml effect``: learn an effect from a dry and a wet sound, and put other sounds through it."""

from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
import typer

from jxemu.app.files import fail, whole_file
from jxemu.app.training import library, progress, scheduled, shown, trained, useless
from jxemu.app.waves import read_wave, wave_files, write_wave

if TYPE_CHECKING:
    from jxemu.ml.effect import Model, Pair

app = typer.Typer(
    no_args_is_help=True, rich_markup_mode=None, help="Learn an effect from what goes in and what comes out."
)

Kind = StrEnum(
    "Kind",
    {
        name.replace("-", "_"): name
        for name in (
            "fir", "iir", "delay", "linear", "relu", "conv", "conv-plain", "conv-untied", "tcn-nano", "tcn-feather", "tcn-lite",
            "tcn-standard", "lstm", "ssm",
        )
    },
)  # fmt: skip
TapName = StrEnum(
    "TapName",
    {
        name.replace("-", "_"): name
        for name in (
            "lowpass", "vcf", "vcf-moving", "vca", *(f"hpf-{n}" for n in range(4)), *(f"chorus-{n}" for n in (1, 2))
        )
    },
)  # fmt: skip

ModelArgument = Annotated[Path, typer.Argument(help="Folder of a trained effect, or a .nam file.")]
ControlOption = Annotated[
    Path | None, typer.Option(help="WAV of the controls beside the dry sound, a channel each, 0 to 1.")
]

MOST_SECONDS = 1800.0

GAP = 0.5
"""Seconds of silence between pairs that are learned together, in which an effect comes to rest."""


@app.command()
def tap(
    name: Annotated[TapName, typer.Argument(help="Circuit of this machine.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder for dry.wav, wet.wav and control.wav.")],
    seconds: Annotated[float, typer.Option(min=1.0, max=MOST_SECONDS, help="Length.")] = 180.0,
    rate: Annotated[int, typer.Option(min=44_100, max=96_000, help="Hz.")] = 48_000,
    seed: Annotated[int, typer.Option(min=1, help="Of the dry sound and the controls.")] = 1,
    dry: Annotated[Path | None, typer.Option(help="Dry sound; default: notes, sweeps and noise.")] = None,
    unit: Annotated[int, typer.Option(min=0, help="Unit of the machine; 0 is nominal.")] = 0,
    sound_name: Annotated[
        str | None,
        typer.Option(
            "--sound",
            help='Name the files "CIRCUIT - pre - SOUND.wav" and so on, so that a folder can hold many pairs.',
        ),
    ] = None,
) -> None:
    """Write what goes into a circuit of this machine and what comes out."""
    from jxemu import Circuit
    from jxemu.render import taps

    if dry is not None:
        sound, rate = read_wave(dry, MOST_SECONDS)
        sound = sound.mean(1)
    else:
        sound = taps.material(seconds, rate, seed)
    made = taps.TAPS[name.value](sound, rate, seed, Circuit(seed=unit))
    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        fail(f"cannot write {output}: {error.strerror}")
    files = {"dry": made.dry[:, None], "wet": made.wet} | ({"control": made.controls} if made.controls.size else {})
    names = dict(zip(files, files, strict=True))
    if sound_name:
        stages = {"dry": "pre", "wet": "post", "control": "control"}
        names = {file: f"{name.value} - {stages[file]} - {sound_name}" for file in files}
    for file, data in files.items():
        write_wave(output / f"{names[file]}.wav", data, rate, "FLOAT")
    names = [f"{names[file]}.wav" for file in files]
    typer.echo(f"{output}: {made.text}; {len(made.dry) / rate:.1f} s, {rate} Hz: {', '.join(names)}")


@app.command()
def train(
    asked: typer.Context,
    dry: Annotated[
        Path,
        typer.Argument(
            help='WAV of what goes in, or a folder of pairs "EFFECT - pre - SOUND.wav", "EFFECT - post - SOUND.wav".'
        ),
    ],
    wet: Annotated[
        Path | None, typer.Argument(help="WAV of what comes out, aligned to it; stereo is learned as such.")
    ] = None,
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder of the model.")] = ...,
    name: Annotated[str | None, typer.Option("--effect", help="Which effect of a folder that holds several.")] = None,
    kind: Annotated[
        Kind, typer.Option("--model", help="fir, iir and delay are solved for in seconds; the others are trained.")
    ] = Kind.lstm,
    control: ControlOption = None,
    epochs: Annotated[int | None, typer.Option(min=1, help="Times through the sound; default: what suits.")] = None,
    seed: Annotated[int, typer.Option(min=1, help="The same seed gives the same model.")] = 1,
    reuse: Annotated[
        Path | None,
        typer.Option(help="A conv model of another effect: its filters are kept, only what follows them is learned."),
    ] = None,
) -> None:
    """Train on a pair, or all of a folder; the last quarter is only checked on. The same command goes on where it was stopped."""
    effect = library("effect")
    if dry.is_dir():
        useless(asked, "a folder of pairs says itself what comes out and what controls", "wet", "control")
        pair, title = _pairs(dry, name)
    elif wet is None:
        fail(f"{dry} is one sound: give what comes out too, or a folder of pairs")
    else:
        useless(asked, "a pair is of one effect", "name")
        pair, title = _pair(dry, wet, control), f"{wet.name} from {dry.name}"
    chosen = effect.KINDS[kind.value]
    schedule = chosen.schedule and scheduled(chosen.schedule, epochs=epochs, seed=seed)
    with trained(output):
        known = effect.Model.load(reuse) if reuse else None
        with progress() as bar:
            model = effect.train(kind.value, pair, output, schedule, known, shown(bar, f"training {kind.value}"))
        text = _about(model, pair, output, title)
        (output / "README.md").write_text(text)
    typer.echo(text)


@app.command()
def apply(
    model: ModelArgument,
    dry: Annotated[Path, typer.Argument(help="WAV of what goes in.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="WAV of what comes out.")],
    control: ControlOption = None,
    beside: Annotated[
        Path | None, typer.Option(help="WAV of what the true effect makes of it: to print the error.")
    ] = None,
    block: Annotated[int, typer.Option(min=16, max=1 << 20, help="Samples at a time; the sound is the same.")] = 16_384,
) -> None:
    """Put a sound through a trained effect."""
    effect = library("effect")
    sound, rate = read_wave(dry, MOST_SECONDS)
    controls = _controls(control, rate) if control else None
    try:
        there = effect.Model.load(model)
        if there.rate != rate:
            fail(f"{dry} has {rate} Hz, the model learned at {there.rate}")
        made = there.apply(sound.mean(1), controls, block)
    except effect.EffectError as error:
        fail(str(error))
    peak = float(np.abs(made).max(initial=0.0))
    write_wave(output, made, rate, "FLOAT")
    late = f", {there.network.future} samples of look-ahead" if there.network.future else ""
    typer.echo(f"{output}: {len(made) / rate:.2f} s, {rate} Hz, peak {peak:.3g}{late}")
    if beside:
        truth, its = read_wave(beside, MOST_SECONDS)
        if its != rate or truth.shape != made.shape:
            fail(f"{beside} has {truth.shape} samples at {its} Hz, what was made {made.shape} at {rate}")
        from jxemu.ml.metrics import esr

        found = esr(truth.astype(np.float32), made)
        typer.echo(
            f"error to signal ratio {found:.6f} ({10 * np.log10(max(found, 1e-20)):.1f} dB): {effect.grade(found)}"
        )


@app.command()
def export(
    model: Annotated[Path, typer.Argument(help="Folder of a trained effect.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="A .nam file.")],
) -> None:
    """Write a mono tcn or lstm as a .nam file."""
    effect = library("effect")
    if output.suffix != ".nam":
        fail(f"{output} must end in .nam")
    try:
        there = effect.Model.load(model)
        with whole_file(output) as part:
            effect.write_nam(there, part, output.stem)
    except effect.EffectError as error:
        fail(str(error))
    typer.echo(f"{output}: {there.kind}, {there.rate} Hz")


# --- parts ---------------------------------------------------------------------------------------


def _controls(path: Path, rate: int) -> np.ndarray:
    controls, its = read_wave(path, MOST_SECONDS)
    if its != rate:
        fail(f"{path} has {its} Hz, the sound {rate}")
    return controls


def _pair(dry: Path, wet: Path, control: Path | None) -> "Pair":
    effect = library("effect")
    before, rate = read_wave(dry, MOST_SECONDS)
    behind, its = read_wave(wet, MOST_SECONDS)
    if its != rate:
        fail(f"{dry} has {rate} Hz, {wet} {its}")
    controls = _controls(control, rate) if control else np.zeros((0, 0))
    try:
        return effect.Pair(before.mean(1), behind, rate, controls)
    except effect.EffectError as error:
        fail(f"{dry} and {wet}: {error}")


def _pairs(folder: Path, name: str | None) -> tuple["Pair", str]:
    """All pairs of one effect in a folder, one after another with silence between them, and what they are."""
    effect = library("effect")
    found: dict[str, dict[str, dict[str, Path]]] = {}
    for path in wave_files([folder]):
        parts = path.stem.split(" - ", 2)
        if len(parts) == 3 and parts[1] in ("pre", "post", "control"):
            found.setdefault(parts[0], {}).setdefault(parts[2], {})[parts[1]] = path
    if not found or (name is None and len(found) > 1) or (name is not None and name not in found):
        there = ", ".join(found) or "no files named EFFECT - pre - SOUND.wav and EFFECT - post - SOUND.wav"
        fail(f"{folder} holds {there}; choose one with --effect" if found else f"{folder} holds {there}")
    name = name or next(iter(found))
    pairs = []
    for sound, files in found[name].items():
        if missing := {"pre", "post"} - set(files):
            fail(f"{folder} has no {name} - {min(missing)} - {sound}.wav")
        pairs.append(_pair(files["pre"], files["post"], files.get("control")))
    kinds = {(pair.rate, pair.wet.shape[1], pair.controls.shape[1]) for pair in pairs}
    if len(kinds) > 1:
        fail(f"the pairs of {name} in {folder} differ in rate, channels or controls")

    def joined(parts: Sequence[np.ndarray]) -> np.ndarray:
        rest = np.zeros((round(GAP * pairs[0].rate), *parts[0].shape[1:]))
        return np.concatenate([each for part in parts for each in (part, rest)][:-1])

    parts = zip(*((pair.dry, pair.wet, pair.controls) for pair in pairs), strict=True)
    dry, wet, controls = (joined(each) for each in parts)
    return effect.Pair(dry, wet, pairs[0].rate, controls), f"{name}: {', '.join(found[name])}"


def _about(model: "Model", pair: "Pair", folder: Path, title: str) -> str:
    """A card for people, and its picture."""
    effect = library("effect")
    esr = model.card["validation"]["ESR"]
    _draw(model, pair, folder / "effect.png")
    names = list(model.card["training"])
    lines = [
        f"# {title}", "",
        f"{model.kind}: {effect.KINDS[model.kind].text}; {model.card['weights']:,} weights, {model.rate} Hz, "
        f"{model.card['seconds']:.1f} s of sound.", "",
        f"| | {' | '.join(names)} |", f"|---|{'---|' * len(names)}",
        *(f"| {part} | {' | '.join(f'{model.card[part][name]:.3g}' for name in names)} |" for part in ("training", "validation")),
        "", f"By its error on what was not learned from: {effect.grade(esr)} (the words are NAM's).", "", "![effect](effect.png)", "",
    ]  # fmt: skip
    return "\n".join(lines)


def _draw(model: "Model", pair: "Pair", path: Path) -> None:
    """Both sounds, where the wet one is loudest, their spectra, and the error by epoch."""
    from matplotlib.figure import Figure

    _, checked = pair.halves()
    checked = checked.part(0, min(len(checked.dry), 10 * pair.rate))
    made = model.apply(checked.dry, checked.controls if model.controls else None)[:, 0]
    truth, rate = checked.wet[:, 0], pair.rate
    at = max(0, int(np.argmax(np.abs(truth))) - rate // 200)
    figure = Figure(figsize=(12, 4), layout="constrained")
    wave, gain, curve = figure.subplots(1, 3)
    shown = slice(at, at + rate // 50)
    milliseconds = np.arange(len(truth[shown])) / rate * 1000
    for sound, name, line in ((truth, "true", "-"), (made, "model", "--")):
        wave.plot(milliseconds, sound[shown], line, label=name, linewidth=1)
    wave.set(xlabel="ms", title="the loudest 20 ms that were not learned from")
    wave.legend()
    hertz = np.fft.rfftfreq(4096, 1 / rate)[1:]
    for sound, name in ((truth, "true"), (made, "model"), (made - truth, "error")):
        frames = np.lib.stride_tricks.sliding_window_view(sound, 4096)[::2048] * np.hanning(4096)
        gain.semilogx(
            hertz, 10 * np.log10(np.square(np.abs(np.fft.rfft(frames))).mean(0)[1:] + 1e-12), label=name, linewidth=1
        )
    gain.set(xlabel="Hz", ylabel="dB", title="spectra")
    gain.legend()
    if epochs := model.card["curve"]:
        curve.semilogy([each["number"] for each in epochs], [each["figures"]["ESR"] for each in epochs])
    curve.set(xlabel="epoch", title="error to signal ratio")
    figure.savefig(path, dpi=100)
