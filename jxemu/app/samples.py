"""``jxemu ml samples``: learn sounds sample after sample, and how many bits that takes beside linear prediction and the CRBM."""

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
    read_waves,
    resampled,
    tone_parameters,
    write_wave,
)

if TYPE_CHECKING:
    from jxemu.ml.sample_lm import Model

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Learn sounds sample after sample, in bits.")

MOST_SECONDS = 60.0
CRBM_EPOCHS = 3

SoundsArgument = Annotated[
    list[Path],
    typer.Argument(help="WAV or FLAC files of one rate, a folder of them, or a rendered dataset with audio."),
]


@app.command()
def train(
    sounds: SoundsArgument,
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder of the model.")],
    held: Annotated[
        list[Path] | None,
        typer.Option(help="Sounds to be judged by; default: every fifth sound, or a dataset's test split."),
    ] = None,
    rate: Annotated[int, typer.Option(min=4_000, max=48_000, help="Hz to which sounds are brought.")] = 11_025,
    epochs: Annotated[int | None, typer.Option(min=1, help="Times through the sounds; default 100.")] = None,
    width: Annotated[int, typer.Option(min=1, max=1024, help="Channels.")] = 64,
    layers: Annotated[int, typer.Option(min=1, max=24, help="Layers.")] = 4,
    seed: Annotated[int, typer.Option(min=1, help="The same seed gives the same model.")] = 1,
) -> None:
    """Train on sounds; the same command goes on where it was stopped. With a dataset it learns notes and tones."""
    lm = library("sample_lm")
    with trained(output):
        names: list[str] = []
        if len(sounds) == 1 and is_dataset(sounds[0]):
            if held:
                fail(f"{sounds[0]} has a test split to be judged by: leave --held out")
            parts = []
            for split in ("train", "test"):
                data, hertz, notes, names = dataset_notes(sounds[0], split)
                data = [resampled(sound, hertz, rate) for sound in data]
                parts.append(
                    (data, [lm.conditions_of(len(s), rate, *note) for s, note in zip(data, notes, strict=True)])
                )
            learned, judged = parts
        else:
            data, hertz = read_waves(sounds, MOST_SECONDS)
            data = [resampled(sound, hertz, rate) for sound in data]
            if held:
                others, its = read_waves(held, MOST_SECONDS)
                others = [resampled(sound, its, rate) for sound in others]
            elif len(data) > 1:
                others, data = data[::5], [sound for n, sound in enumerate(data) if n % 5]
            else:
                fail(f"{sounds[0]} is one sound: give another to be judged by, with --held")
            learned, judged = ((group, [lm.clock(len(sound), rate) for sound in group]) for group in (data, others))
        if short := [sound for sound in (*learned[0], *judged[0]) if len(sound) <= lm.ORDER]:
            fail(f"a sound of {len(short[0])} samples is too short: more than {lm.ORDER} are needed (at {rate} Hz)")
        settings = lm.Settings(rate, learned[1][0].shape[1], width, layers=layers)
        schedule = scheduled(lm.SCHEDULE, epochs=epochs, seed=seed)
        with progress() as bar:
            model = lm.train(*learned, settings, output, schedule, shown(bar, "training"), names)
            beside = lm.linear_bits(learned[0], judged[0], model.gain)
            quick = replace(lm.crbm.SCHEDULE, epochs=CRBM_EPOCHS)
            beside[f"CRBM({lm.ORDER})"] = lm.crbm_bits(
                learned[0], judged[0], model.gain, rate, output / "crbm", quick, shown(bar, "a CRBM beside it")
            )
        model.card.update(bits={"this model": model.bits(*judged)} | beside, held=len(judged[0]))
        model.save(output)
        text = _about(model, output, sounds)
        (output / "README.md").write_text(text)
        (output / "checkpoint.pt").unlink(missing_ok=True)
    typer.echo(text)


@app.command()
def generate(
    model: Annotated[Path, typer.Argument(help="Folder of a trained model.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="WAV file; a picture goes beside it.")],
    seconds: Annotated[float, typer.Option(min=0.01, max=MOST_SECONDS, help="Length.")] = 4.0,
    seed: Annotated[int, typer.Option(min=0, help="The same seed gives the same sound.")] = 0,
    temperature: Annotated[
        float, typer.Option(min=0.0, max=10.0, help="Below 1 likelier levels come more often.")
    ] = 1.0,
    note: Annotated[int, typer.Option(min=0, max=127, help="Of a model that learned a dataset.")] = 60,
    velocity: Annotated[int, typer.Option(min=1, max=127)] = 100,
    hold: Annotated[float, typer.Option(min=0.0, help="Seconds until the key goes up.")] = 2.0,
    bank: Annotated[Path | None, typer.Option(help="Sysex bank with the tone.")] = None,
    tone: Annotated[str | None, typer.Option(help="Name of a tone in it; default: its first.")] = None,
) -> None:
    """Let a model sound by itself."""
    lm = library("sample_lm")
    try:
        there = lm.Model.load(model)
        rate, count = there.settings.rate, round(seconds * there.settings.rate)
        if there.settings.conditions == 3:
            told = lm.clock(count, rate)
        else:
            told = lm.conditions_of(count, rate, note, velocity, tone_parameters(bank, tone, there.card["names"]), hold)
        made = there.generate(told, seed, temperature)
    except lm.SampleError as error:
        fail(str(error))
    write_wave(output, made, rate)
    draw_sound(output.with_suffix(".png"), made, rate)
    typer.echo(f"{output}: {len(made) / rate:.2f} s, {rate} Hz, peak {np.abs(made).max(initial=0.0):.3g}")


# --- parts ---------------------------------------------------------------------------------------


def _about(model: "Model", folder: Path, sounds: Sequence[Path]) -> str:
    from matplotlib.figure import Figure

    curve = model.card["curve"]
    figure = Figure(figsize=(5, 3), layout="constrained")
    axis = figure.subplots()
    axis.plot([each["number"] for each in curve], [each["figures"]["bits"] for each in curve])
    axis.set(xlabel="epoch", ylabel="bits a sample, training sounds")
    figure.savefig(folder / "curve.png", dpi=100)
    rows = "\n".join(f"| {name} | {bits:.3f} |" for name, bits in model.card["bits"].items())
    return (
        f"# A sample model of {', '.join(path.name for path in sounds)}\n\n"
        f"{model.settings.layers} layers of {model.settings.width} channels, {model.card['weights']:,} weights, "
        f"{model.settings.rate} Hz, {len(curve)} epochs.\n\n"
        f"| on {model.card['held']} sounds that were not learned from | bits a sample |\n|---|---|\n{rows}\n\n"
        f"All hear the same 256 mu-law steps; 8 bits is no idea at all.\n\n![curve](curve.png)\n"
    )
