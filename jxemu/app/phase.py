"""``jxemu ml phase``: follow the frames of a phase vocoder; learn them, go on from them, stretch and cross them."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
import typer

from jxemu.app.files import fail
from jxemu.app.training import library, progress, scheduled, shown, trained
from jxemu.app.waves import (
    dataset_notes,
    draw_sound,
    is_dataset,
    read_wave,
    read_waves,
    resampled,
    tone_parameters,
    write_wave,
)

if TYPE_CHECKING:
    from jxemu.ml.phase_rnn import Model, Settings

app = typer.Typer(
    no_args_is_help=True, rich_markup_mode=None, help="Follow a sound's spectra: learn them, go on, stretch and cross."
)

SoundsArgument = Annotated[
    list[Path],
    typer.Argument(help="WAV or FLAC files of one rate, a folder of them, or a rendered dataset with audio."),
]
WindowOption = Annotated[int, typer.Option(min=16, max=16_384, help="Samples of a frame; the hop is a quarter.")]
BinsOption = Annotated[int | None, typer.Option(min=1, help="Only the lowest bins of the spectrum; default all.")]
OutputOption = Annotated[Path, typer.Option("-o", "--output", help="WAV file; a picture goes beside it.")]

MOST_SECONDS = 600.0


@app.command()
def train(
    sounds: SoundsArgument,
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder of the model.")],
    sample_rate: Annotated[
        int | None, typer.Option(min=4_000, max=96_000, help="Hz to which sounds are brought; default: their own.")
    ] = None,
    window: WindowOption = 512,
    bins: Annotated[int, typer.Option(min=1, help="The lowest bins of the spectrum that are kept.")] = 40,
    hidden: Annotated[int, typer.Option(min=1, max=2000, help="Units of a layer.")] = 100,
    layers: Annotated[int, typer.Option(min=1, max=8, help="LSTM layers.")] = 2,
    mixtures: Annotated[int, typer.Option(min=1, max=50, help="Components of the density.")] = 3,
    sequence: Annotated[int, typer.Option(min=1, max=1000, help="Frames of a training window.")] = 20,
    dropout: Annotated[float, typer.Option(min=0.0, max=0.9, help="Between layers.")] = 0.0,
    jitter: Annotated[float, typer.Option(min=0.0, max=5.0, help="Noise on what it hears in training.")] = 0.2,
    delta: Annotated[bool, typer.Option("--delta", help="Learn steps between frames, not frames.")] = False,
    epochs: Annotated[int | None, typer.Option(min=1, help="Times through the sounds.")] = None,
    batch: Annotated[int, typer.Option(min=1, max=1024, help="Windows of a step.")] = 16,
    rate: Annotated[float, typer.Option(min=1e-6, max=1.0, help="Of learning.")] = 3e-3,
    seed: Annotated[int, typer.Option(min=1, help="The same seed gives the same model.")] = 1,
) -> None:
    """Train on sounds; the same command goes on where it was stopped.

    With a dataset it learns which note, velocity and tone make which sound.
    """
    phase = library("phase_rnn")
    with trained(output):
        given, names = None, []
        if len(sounds) == 1 and is_dataset(sounds[0]):
            data, hertz, notes, names = dataset_notes(sounds[0], "train")
            data, hertz = _brought(data, hertz, sample_rate)
            settings = _settings(phase, hertz, window, bins, hidden, layers, mixtures, sequence, dropout, jitter, delta)
            settings = replace(settings, conditions=phase.conditions(bins, len(names)))
            given = [
                phase.conditions_of(settings, len(phase.rows_of(sound, settings)), *note)
                for sound, note in zip(data, notes, strict=True)
            ]
        else:
            data, hertz = _brought(*read_waves(sounds, MOST_SECONDS), sample_rate)
            settings = _settings(phase, hertz, window, bins, hidden, layers, mixtures, sequence, dropout, jitter, delta)
        schedule = scheduled(phase.SCHEDULE, epochs=epochs, batch=batch, rate=rate, seed=seed)
        with progress() as bar:
            model = phase.train(data, settings, output, schedule, given, shown(bar, "training"))
        model.card["names"] = names
        model.save(output)
        text = _about(model, output, sounds)
        (output / "README.md").write_text(text)
    typer.echo(text)


@app.command()
def generate(
    model: Annotated[Path, typer.Argument(help="Folder of a trained model.")],
    output: OutputOption,
    seconds: Annotated[float, typer.Option(min=0.05, max=MOST_SECONDS, help="Length.")] = 4.0,
    seed: Annotated[int, typer.Option(min=0, help="The same seed gives the same sound.")] = 0,
    temperature: Annotated[
        str,
        typer.Option(help="What variances are multiplied by: a number, or a course as second:number,second:number."),
    ] = "1",
    begin: Annotated[Path | None, typer.Option("--from", help="Sound to go on from; default: what it learned.")] = None,
    reset: Annotated[
        Path | None, typer.Option(help="Sound, the same or another, of whose middle frames are put in.")
    ] = None,
    period: Annotated[float, typer.Option(min=0.01, help="Seconds from one of these to the next.")] = 0.25,
    heaviest: Annotated[
        bool, typer.Option("--heaviest", help="Always the likeliest component, not a drawn one.")
    ] = False,
    note: Annotated[int, typer.Option(min=0, max=127, help="Of a model that learned a dataset.")] = 60,
    velocity: Annotated[int, typer.Option(min=1, max=127)] = 100,
    hold: Annotated[float, typer.Option(min=0.0, help="Seconds until the key goes up.")] = 2.0,
    bank: Annotated[Path | None, typer.Option(help="Sysex bank with the tone.")] = None,
    tone: Annotated[str | None, typer.Option(help="Name of a tone in it; default: its first.")] = None,
) -> None:
    """Let a model go on by itself."""
    phase = library("phase_rnn")
    try:
        there = phase.Model.load(model)
        heat = _course(temperature)
        chosen = there.settings
        sources = [None if path is None else there.rows(_mono(path, chosen.rate)) for path in (begin, reset)]
        given = None
        if chosen.conditions:
            frames = max(1, round(seconds * chosen.rate / chosen.hop))
            p = tone_parameters(bank, tone, there.card["names"])
            given = phase.conditions_of(chosen, frames, note, velocity, p, hold)
        rows = there.generate(seconds, seed, heat, sources[0], sources[1], period, given, heaviest)
        made = there.sound(rows)
    except phase.PhaseError as error:
        fail(str(error))
    _written(output, made, chosen.rate)


@app.command()
def stretch(
    sound: Annotated[Path, typer.Argument(help="WAV file.")],
    output: OutputOption,
    factor: Annotated[float, typer.Option(min=0.1, max=10.0, help="How many times as long.")] = 2.0,
    window: WindowOption = 2048,
    bins: BinsOption = None,
) -> None:
    """Make a sound longer or shorter at its pitch."""
    phase = library("phase_rnn")
    data, rate = read_wave(sound, MOST_SECONDS)
    settings = phase.Settings(rate, window, _bins(bins, window))
    _written(output, phase.stretched(data.mean(1), settings, factor), rate)


@app.command()
def cross(
    levels: Annotated[Path, typer.Argument(help="WAV whose levels are taken.")],
    frequencies: Annotated[Path, typer.Argument(help="WAV whose frequencies are taken.")],
    output: OutputOption,
    window: WindowOption = 2048,
    bins: BinsOption = None,
    held: Annotated[
        bool, typer.Option("--held", help="Hold the second sound's loudest frame, as loud as the first sound is.")
    ] = False,
) -> None:
    """Put the levels of one sound on the frequencies of another."""
    phase = library("phase_rnn")
    data, rate = read_wave(levels, MOST_SECONDS)
    settings = phase.Settings(rate, window, _bins(bins, window))
    _written(output, phase.crossed(data.mean(1), _mono(frequencies, rate), settings, held), rate)


# --- parts ---------------------------------------------------------------------------------------


def _brought(data: Sequence[np.ndarray], hertz: int, wanted: int | None) -> tuple[Sequence[np.ndarray], int]:
    """Sounds at the rate that is wanted, if one is, and their rate."""
    return (data, hertz) if wanted in (None, hertz) else ([resampled(sound, hertz, wanted) for sound in data], wanted)


def _bins(asked: int | None, window: int) -> int:
    if asked is not None and asked > window // 2 + 1:
        fail(f"a frame of {window} samples has {window // 2 + 1} bins, not {asked}")
    return asked or window // 2 + 1


def _settings(
    phase, rate: int, window: int, bins: int, hidden: int, layers: int, mixtures: int, sequence: int, dropout: float,
    jitter: float, delta: bool,
) -> "Settings":  # fmt: skip
    if window % 4:
        fail(f"a frame of {window} samples has no hop of a quarter; take a number that can be divided by 4")
    if bins > window // 2 + 1:
        fail(f"a frame of {window} samples has {window // 2 + 1} bins, not {bins}")
    return phase.Settings(rate, window, bins, hidden, layers, mixtures, not delta, sequence, dropout, jitter)


def _course(text: str) -> float | list[tuple[float, float]]:
    try:
        if ":" not in text:
            found = [(0.0, float(text))]
        else:
            found = [tuple(float(part) for part in pair.split(":")) for pair in text.split(",")]
        if any(len(pair) != 2 or not 0 <= pair[1] <= 1000 for pair in found):
            raise ValueError
    except ValueError:
        fail(f"{text!r} is no temperature: give a number from 0 on, or second:number,second:number")
    return found


def _mono(path: Path, rate: int) -> np.ndarray:
    data, its = read_wave(path, MOST_SECONDS)
    if its != rate:
        fail(f"{path} has {its} Hz, not {rate}")
    return data.mean(1)


def _written(output: Path, made: np.ndarray, rate: int) -> None:
    peak = float(np.abs(made).max(initial=0.0))
    write_wave(output, made / max(peak, 1.0), rate)
    draw_sound(output.with_suffix(".png"), made, rate)
    typer.echo(
        f"{output}: {len(made) / rate:.2f} s, {rate} Hz, peak {peak:.3g}{' (turned down to 1)' if peak > 1 else ''}"
    )


def _about(model: "Model", folder: Path, sounds: Sequence[Path]) -> str:
    from matplotlib.figure import Figure

    curve = model.card["curve"]
    figure = Figure(figsize=(5, 3), layout="constrained")
    axis = figure.subplots()
    axis.plot([each["number"] for each in curve], [each["figures"]["nats a value"] for each in curve])
    axis.set(xlabel="epoch", ylabel="nats a value")
    figure.savefig(folder / "curve.png", dpi=100)
    chosen = model.settings
    what = "frames" if chosen.absolute else "steps between frames"
    return (
        f"# A follower of {', '.join(path.name for path in sounds)}\n\n"
        f"{chosen.bins} bins of {chosen.window} samples at {chosen.rate} Hz, {chosen.layers} x {chosen.hidden} units, "
        f"{chosen.mixtures} components, {model.card['weights']:,} weights, {len(curve)} epochs on {what}. "
        f"{curve[-1]['figures']['nats a value']:.3f} nats a value.\n\n![curve](curve.png)\n"
    )
