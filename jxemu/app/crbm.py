"""``jxemu ml crbm``: a machine that learns a sound sample by sample, whose poles can be moved and heard."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
import typer

from jxemu.app.files import fail, whole_file
from jxemu.app.training import library, progress, scheduled, shown, trained, useless
from jxemu.app.waves import draw_sound, read_waves, write_wave

if TYPE_CHECKING:
    from jxemu.ml.crbm import Fourier, Model
    from jxemu.ml.poles import Poles

app = typer.Typer(
    no_args_is_help=True, rich_markup_mode=None, help="Learn a sound sample by sample, and move its poles."
)

Start = StrEnum("Start", {"linear": "linear", "random": "random"})
CodeName = StrEnum("CodeName", {name: name for name in ("complex", "polar", "delta")})

SoundsArgument = Annotated[list[Path], typer.Argument(help="WAV or FLAC files of one rate, or a folder of them.")]
ModelArgument = Annotated[Path, typer.Argument(help="Folder of a trained model.")]
ClampOption = Annotated[float | None, typer.Option(min=0.0, max=0.5, help="No pole farther out than 1 minus this.")]
ScaleOption = Annotated[float | None, typer.Option(min=0.0, max=2.0, help="Poles so many times as far from 0.")]
PullOption = Annotated[float | None, typer.Option(min=-5.0, max=1.0, help="Poles towards the unit circle by this share of their distance; below 0 away.")]  # fmt: skip
RotateOption = Annotated[float | None, typer.Option(help="Every pole's frequency raised by so many Hz.")]
PitchOption = Annotated[float | None, typer.Option(min=0.01, max=100.0, help="Every pole's frequency times this.")]

HiddenTooOption = Annotated[bool, typer.Option("--hidden-too", help="Move the poles of every hidden unit likewise.")]

MOST_SECONDS = 60.0
_GREY, _INK, _RUST = "#b9c0c6", "#1f5f8b", "#c2571a"


@app.command()
def train(
    asked: typer.Context,
    sounds: SoundsArgument,
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder of the model.")],
    order: Annotated[int, typer.Option(min=1, max=1000, help="Samples, or bins, of the past.")] = 50,
    scales: Annotated[
        float | None, typer.Option(min=1.0, max=4.0, help="Bins of the past that grow by this factor.")
    ] = None,
    hidden: Annotated[
        int,
        typer.Option(min=0, max=2000, help="Hidden units; 0: linear prediction alone, with the same poles to move."),
    ] = 200,
    epochs: Annotated[int | None, typer.Option(min=1, help="Times through the sounds; default 30.")] = None,
    rate: Annotated[
        float | None, typer.Option(min=1e-6, max=1.0, help="Highest learning rate; default 0.002, of spectra 0.0001.")
    ] = None,
    batch: Annotated[int | None, typer.Option(min=1, help="Samples of a step; default 1000.")] = None,
    decay: Annotated[float, typer.Option(min=0.0, max=1.0, help="What weights lose, a share of the rate.")] = 0.0,
    steps: Annotated[int, typer.Option(min=1, max=100, help="Of contrastive divergence.")] = 1,
    window: Annotated[float, typer.Option(min=0.05, max=1.0, help="Level up to which samples are not bent.")] = 0.8,
    start: Annotated[Start, typer.Option(help="A begins as a linear prediction, or at random.")] = Start.linear,
    clamp: Annotated[bool, typer.Option(help="Keep A's poles inside the unit circle while training.")] = True,
    fourier: Annotated[CodeName | None, typer.Option(help="Learn spectra instead of samples, in this code.")] = None,
    seed: Annotated[int, typer.Option(min=1, help="The same seed gives the same model.")] = 1,
) -> None:
    """Train on sounds; the same command goes on where it was stopped."""
    crbm = library("crbm")
    if fourier:
        useless(
            asked, "spectra (--fourier) have none of what is of samples", "order", "scales", "window", "start", "clamp"
        )
        if not hidden:
            fail("spectra (--fourier) need hidden units")
    if not hidden:
        useless(
            asked, "linear prediction alone (--hidden 0) is not trained", "epochs", "rate", "batch", "decay", "steps"
        )
    data, hertz = read_waves(sounds, MOST_SECONDS)
    usual = crbm.FOURIER_SCHEDULE if fourier else crbm.SCHEDULE
    schedule = scheduled(usual, epochs=epochs, rate=rate, batch=batch, decay=decay, seed=seed)
    with trained(output):
        with progress() as bar:
            told = shown(bar, "training")
            if fourier:
                model = crbm.train_fourier(data, hertz, fourier.value, hidden, output, schedule, told, steps)
                text = _about_fourier(model, output, sounds)
            else:
                sizes = crbm.multiscale(order, scales) if scales else crbm.contiguous(order)
                settings = crbm.Settings(hertz, hidden, sizes, window, steps, start is Start.linear, clamp)
                model = crbm.train(data, settings, output, schedule, told)
                text = _about(model, data, output, sounds)
        draw_sound(output / "sound.png", np.concatenate(data), hertz)
        (output / "README.md").write_text(text)
    typer.echo(text)


@app.command()
def generate(
    asked: typer.Context,
    model: ModelArgument,
    output: Annotated[
        Path | None,
        typer.Option(
            "-o",
            "--output",
            help="WAV file; a picture and its settings go beside it. Default: a new number in the model's folder.",
        ),
    ] = None,
    seconds: Annotated[float, typer.Option(min=0.01, max=600.0, help="Length.")] = 4.0,
    seed: Annotated[int, typer.Option(min=0, help="The same seed gives the same sound.")] = 0,
    begin: Annotated[
        Path | None, typer.Option("--from", help="Sound to go on from; default: where the training ended.")
    ] = None,
    at: Annotated[
        float | None, typer.Option(min=0.0, help="Second of that sound at which to take over; default: its loudest.")
    ] = None,
    clip: Annotated[
        bool, typer.Option(help="Bend samples to +-1 on their way; --no-clip shows what the machine alone does.")
    ] = True,
    linear: Annotated[bool, typer.Option("--linear", help="Without what hidden units add.")] = False,
    clamp: ClampOption = None,
    scale: ScaleOption = None,
    pull: PullOption = None,
    rotate: RotateOption = None,
    pitch: PitchOption = None,
    hidden_too: HiddenTooOption = False,
) -> None:
    """Let a model sound; its poles may be moved first."""
    crbm = library("crbm")
    there = _load(model)
    output = output or _numbered(model)
    if isinstance(there, crbm.Fourier):
        of_samples = "begin", "at", "clip", "linear", "clamp", "scale", "pull", "rotate", "pitch", "hidden_too"
        useless(asked, f"{model} learned spectra: it has no poles, and begins with a frame of its own", *of_samples)
        made, active, rate = there.generate(seconds, seed), None, there.rate
        about = {"code": there.code, "hidden units": len(there.hidden_bias), "epochs": len(there.curve)}
    else:
        rate, order = there.settings.rate, sum(there.settings.sizes)
        about = {"past": order, "bins": len(there.settings.sizes), "hidden units": len(there.w), "epochs": len(there.curve),
                 "window": there.settings.window, "CD steps": there.settings.steps, "from": begin, "at": at, "clip": clip,
                 "linear": linear, "clamp": clamp, "scale": scale, "pull": pull, "rotate": rotate, "pitch": pitch,
                 "hidden too": hidden_too}  # fmt: skip
        try:
            there = Edit(clamp, scale, pull, rotate, pitch, rate, hidden_too).model(there)
            there = there.linear() if linear else there
            context = _context(begin, at, rate, order) if begin else None
            made, active = there.generate(round(seconds * rate), seed, context, clip)
        except crbm.CrbmError as error:
            fail(str(error))
    good = np.isfinite(made)
    if not good.all():
        typer.echo(f"the machine left every range after {int(np.argmin(good)) / rate:.3f} s; the rest is silence")
        made = np.where(good & (np.cumsum(~good) == 0), made, 0.0)
    peak = float(np.abs(made).max(initial=0.0))
    made = made / max(peak, 1.0)
    write_wave(output, made, rate)
    draw_sound(output.with_suffix(".png"), made, rate, active if active is not None and active.size else None)
    told = {"model": model, "rate": rate, **about, "seconds": seconds, "seed": seed}
    with whole_file(output.with_suffix(".txt")) as part:
        part.write_text("".join(f"{name}: {value}\n" for name, value in told.items() if value is not None))
    typer.echo(
        f"{output}: {len(made) / rate:.2f} s, {rate} Hz, peak {peak:.3g}{' (turned down to 1)' if peak > 1 else ''}"
    )


@app.command()
def poles(
    model: ModelArgument,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="Folder for the model with its poles moved.")
    ] = None,
    clamp: ClampOption = None,
    scale: ScaleOption = None,
    pull: PullOption = None,
    rotate: RotateOption = None,
    pitch: PitchOption = None,
    hidden_too: HiddenTooOption = False,
    move: Annotated[
        list[str] | None,
        typer.Option(help="One pair elsewhere, PAIR:HZ:RADIUS, pairs counted from 0 as listed; repeat."),
    ] = None,
    become: Annotated[
        str | None,
        typer.Option(
            "--from-polynomial",
            help="The linear part by its polynomial: numbers, the highest power first, or a file of them.",
        ),
    ] = None,
    of: Annotated[
        str,
        typer.Option(
            help="List those of linear, total (with hidden units), or hidden:N; --move moves those of hidden:N too."
        ),
    ] = "linear",
    polynomial: Annotated[bool, typer.Option("--polynomial", help="List their polynomial too.")] = False,
) -> None:
    """List a model's poles, or move them: by polynomial, one by one, then scale, pull, rotate, pitch and clamp, in this order."""
    crbm = library("crbm")
    there = _load(model)
    if isinstance(there, crbm.Fourier):
        fail(f"{model} learned spectra: it has no poles")
    rate = there.settings.rate
    try:
        there = there if become is None else there.edited(_from_polynomial(become))
        if move:
            moved = _poles_of(there, of)
            for text in move:
                moved = _one_moved(moved, text, rate)
            there = _with_poles(there, of, moved)
        there = Edit(clamp, scale, pull, rotate, pitch, rate, hidden_too).model(there)
        found, total = _poles_of(there, of), there.total_poles
    except crbm.CrbmError as error:
        fail(str(error))
    if output:
        try:
            there.save(output)
            _draw_poles(there, output / "poles.png")
        except OSError as error:
            fail(f"cannot write {output}: {error.strerror}")
    typer.echo(f"{found.order} poles: {len(found.pairs)} pairs, {len(found.real)} real; {'all inside' if found.stable else 'NOT all inside'} the unit circle"
               f" (with hidden units: {'all inside' if total.stable else 'not all inside'})")  # fmt: skip
    typer.echo("pair       Hz    radius  decay (60 dB)")
    for number, pole in enumerate(found.pairs):
        radius = abs(pole)
        decay = f"{-3 * np.log(10) / np.log(radius) / rate * 1000:.1f} ms" if 0 < radius < 1 else "grows"
        typer.echo(f"{number:4}  {np.angle(pole) * rate / (2 * np.pi):7.1f}  {radius:.6f}  {decay}")
    for pole in found.real:
        typer.echo(f"    real  {pole:+.6f}")
    if polynomial:
        typer.echo("polynomial, the highest power first:")
        typer.echo(" ".join(f"{number:.8g}" for number in found.polynomial))
    if output:
        typer.echo(f"{output}: the model with these poles")


# --- parts ---------------------------------------------------------------------------------------


def _load(folder: Path) -> "Model | Fourier":
    crbm = library("crbm")
    try:
        return crbm.Model.load(folder)
    except crbm.CrbmError as error:
        try:
            return crbm.Fourier.load(folder)
        except crbm.CrbmError:
            fail(str(error))


def _one_moved(found: "Poles", text: str, rate: int) -> "Poles":
    try:
        number, hertz, radius = (kind(part) for kind, part in zip((int, float, float), text.split(":"), strict=True))
        if not (np.isfinite([hertz, radius]).all() and 0 <= radius <= 2):
            raise ValueError("a radius is 0 to 2, and Hz a number")
        return found.moved(number, radius * np.exp(2j * np.pi * hertz / rate))
    except ValueError as error:
        fail(f"--move {text}: {error}; it is PAIR:HZ:RADIUS, such as 3:440:0.99")


def _poles_of(model: "Model", what: str) -> "Poles":
    kind, _, number = what.partition(":")
    if kind == "hidden" and number.isdecimal():
        return model.hidden_poles(int(number))
    if what not in ("linear", "total"):
        fail(f"--of {what}: choose linear, total or hidden:N")
    return model.poles if what == "linear" else model.total_poles


def _with_poles(model: "Model", what: str, moved: "Poles") -> "Model":
    if what == "total":
        fail("--move moves poles of linear or of hidden:N; those of both together follow")
    return (
        model.edited(moved) if what == "linear" else model.edited_hidden(lambda _: moved, int(what.partition(":")[2]))
    )


def _from_polynomial(text: str) -> "Poles":
    from jxemu.ml.poles import Poles

    try:
        try:
            numbers = _numbers(text)
        except ValueError:
            numbers = _numbers(Path(text).read_text())
        return Poles.of_polynomial(np.array(numbers))
    except (ValueError, OSError) as error:
        fail(f"--from-polynomial: {error}; it is numbers such as '1 -1.8 0.9', or a file of them")


def _numbers(text: str) -> list[float]:
    numbers = [float(each) for each in text.replace(",", " ").split()]
    if not numbers:
        raise ValueError("there are no numbers")
    return numbers


def _numbered(folder: Path) -> Path:
    """A WAV file in a folder, one that is not there yet."""
    return next(path for n in count(1) if not (path := folder / f"generated-{n:03d}.wav").exists())


@dataclass(frozen=True)
class Edit:
    """What is done to poles, the clamp at last; None leaves them."""

    clamp: float | None
    scale: float | None
    pull: float | None
    rotate: float | None
    pitch: float | None
    rate: int
    hidden_too: bool = False

    def __bool__(self) -> bool:
        return any(each is not None for each in (self.clamp, self.scale, self.pull, self.rotate, self.pitch))

    def poles(self, found: "Poles") -> "Poles":
        """Those that were moved."""
        found = found if self.scale is None else found.scaled(self.scale)
        found = found if self.pull is None else found.pulled(self.pull)
        found = found if self.rotate is None else found.rotated(self.rotate, self.rate)
        found = found if self.pitch is None else found.pitched(self.pitch)
        return found if self.clamp is None else found.clamped(self.clamp)

    def model(self, model: "Model") -> "Model":
        """A model whose poles were moved."""
        if not self:
            return model
        model = model.edited(self.poles(model.poles))
        return model.edited_hidden(self.poles) if self.hidden_too else model


def _context(path: Path, at: float | None, rate: int, span: int) -> np.ndarray:
    (sound,), its = read_waves([path], MOST_SECONDS)
    if its != rate:
        fail(f"{path} has {its} Hz, the model {rate}")
    if not len(sound):
        fail(f"{path} holds no sound to go on from")
    place = int(np.argmax(np.abs(sound))) + span if at is None else round(at * rate)
    place = min(max(place, span), len(sound))
    return sound[:place]


def _about(model: "Model", data: Sequence[np.ndarray], folder: Path, sounds: Sequence[Path]) -> str:
    """A card for people, and its pictures."""
    windows = model.windows(data)
    rows = [("CRBM", model.error(data)), ("its linear part alone", model.linear().error(data))]
    if model.settings.is_contiguous:
        from jxemu.ml.poles import burg, predicted

        order = len(model.settings.sizes)
        off = windows.sound[order:] - predicted(windows.sound, burg(windows.sound, order))
        rows.append((f"LPC by Burg, order {order}", float(np.sqrt(np.square(off).mean()) * model.range.deviation)))
        _draw_poles(model, folder / "poles.png")
    _draw_curve([(epoch.number, epoch.figures["error"]) for epoch in model.curve], folder / "curve.png")
    lines = [
        f"# A CRBM of {', '.join(path.name for path in sounds)}", "",
        f"{len(model.settings.sizes)} bins of the past ({sum(model.settings.sizes)} samples), {len(model.w)} hidden units, "
        f"{model.settings.rate} Hz, {f'{len(model.curve)} epochs of CD-{model.settings.steps}' if len(model.w) else 'linear prediction alone'}.", "",
        "| what expects the next sample | RMS of what it does not expect |", "|---|---|",
        *(f"| {name} | {20 * np.log10(max(error, 1e-9)):.2f} dB |" for name, error in rows), "",
    ]  # fmt: skip
    if model.settings.is_contiguous:
        inside = "all poles inside" if model.stable else "NOT all poles inside"
        lines += [f"Linear part: {inside} the unit circle.", "", "![poles](poles.png)", ""]
    lines += ["![sound](sound.png)", ""]
    return "\n".join([*lines, "![curve](curve.png)", ""])


def _about_fourier(model: "Fourier", folder: Path, sounds: Sequence[Path]) -> str:
    _draw_curve([(epoch.number, epoch.figures["error"]) for epoch in model.curve], folder / "curve.png")
    return (
        f"# A CRBM of the spectra of {', '.join(path.name for path in sounds)}\n\n"
        f"Code {model.code}, {len(model.mean)} channels, {len(model.hidden_bias)} hidden units, {model.rate} Hz. What it does not "
        f"expect of the next frame: {model.curve[-1].figures['error']:.3f} of each channel's deviation.\n\n![sound](sound.png)\n\n![curve](curve.png)\n"
    )


@dataclass(frozen=True)
class _Cloud:
    poles: "Poles"
    colour: str
    marker: str
    name: str


def _draw_poles(model: "Model", path: Path) -> None:
    from matplotlib.figure import Figure

    from jxemu.ml.poles import response

    loudest = np.argsort(np.abs(model.w))[::-1][:3]
    clouds = [
        *(
            _Cloud(model.hidden_poles(int(n)), _GREY, ".", "of hidden units" if not k else "_")
            for k, n in enumerate(loudest)
        ),
        _Cloud(model.total_poles, _RUST, "x", "with hidden units"),
        _Cloud(model.poles, _INK, "o", "linear part"),
    ]
    figure = Figure(figsize=(11, 5), layout="constrained")
    plane, gain = figure.subplots(1, 2)
    turn = np.linspace(0, 2 * np.pi, 200)
    plane.plot(np.cos(turn), np.sin(turn), color="black", linewidth=0.8)
    for cloud in clouds:
        found = cloud.poles.all
        plane.plot(found.real, found.imag, cloud.marker, color=cloud.colour, fillstyle="none", label=cloud.name)
    plane.set(aspect="equal", xlim=(-1.3, 1.3), ylim=(-1.3, 1.3), title="poles")
    plane.legend(fontsize=8, loc="upper right")
    hertz = np.geomspace(20, model.settings.rate / 2, 600)
    for cloud in clouds[-2:]:
        gain.semilogx(hertz, response(cloud.poles.coefficients, hertz, model.settings.rate), color=cloud.colour)
    gain.set(xlabel="Hz", ylabel="dB", title="1 / |A|")
    figure.savefig(path, dpi=100)


def _draw_curve(rows: Sequence[tuple[int, float]], path: Path) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5, 3), layout="constrained")
    axis = figure.subplots()
    axis.plot(*zip(*rows, strict=True), color=_INK)
    axis.set(xlabel="epoch", ylabel="RMS of what is not expected")
    figure.savefig(path, dpi=100)
