"""The five listening machines in one table: what each reached, beside its goal, its model's author's figure and a plain baseline.

A *study* is a machine with the commands that make all it is measured on, sounds and models, in one folder, and a function
that measures them: quick, as far as it can, where only the way is to be tried. Nothing is trained here: the commands do that,
those that anybody may give. (But for a follower of one note at eight velocities: a dataset does not hold out single notes of a tone.)
"""

import errno
import hashlib
import json
import shlex
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import soundfile
import torch

from jxemu.ml import crbm, effect, phase_rnn, resynthesis, sample_lm, samplegen
from jxemu.ml.data import Audio
from jxemu.ml.metrics import mss, rms_cosine
from jxemu.ml.poles import EPSILON, Poles, burg, predicted
from jxemu.ml.train import Schedule
from jxemu.patch.tone import Tone
from jxemu.render.offline import render

RATE = 44_100
PERCUSSIVE = 5
TAPS = ("lowpass", "hpf-2", "vcf", "vcf-moving", "chorus-1")
UNSEEN = "-unseen"
GENERATIONS, GENERATED_SECONDS = 100, 10.0
STRINGS = (52, 48, 50, 54, 56, 62, 58, 60, 64, 66)
"""Notes of the strings: `jxemu ml samples` holds out every fifth, here two that lie between others."""

ORIGINALS = {
    "linear": ("0.30", "three full layers"),
    "relu": ("0.34", "three full layers with rectifiers"),
    "conv": ("0.11 to 0.26", "50 filters, a scale, the same filters back"),
    "conv-plain": ("worse", "the same without the scale"),
    "conv-untied": ("worse", "the same with other filters back"),
}
"""The networks of TensorFlow Signal Processing: the ESR that its author's validation errors come to, and what they are.

Worked out of its tables (mean squares of 0.00327 and 0.00363 beside a deviation of 0.104; a range for the third); of the last two its text says so.
"""

SURE = 0.7
"""Temperature of the sample model alone. Tried with one seed: at 1 the last half second, in which the key goes up, was 6 dB too loud."""

NOT_TRAINED = "nothing to train"


@dataclass(frozen=True)
class Row:
    """A figure.  goal : None where there is only something to tell.  above : whether more is better.

    seed : what the author of the model's original had.  baseline : something plain beside it.  command : what trains it.
    """

    machine: str
    what: str
    found: float
    goal: float | None = None
    above: bool = False
    seed: str = "not told"
    baseline: str = ""
    command: str = NOT_TRAINED

    @property
    def met(self) -> bool | None:
        """Whether the goal is reached."""
        if self.goal is None:
            return None
        return self.found >= self.goal if self.above else self.found <= self.goal


@dataclass(frozen=True)
class Command:
    """Arguments of ``jxemu``, given in the table's folder, and the file that is there when it is done."""

    words: tuple[str, ...]
    makes: str

    @classmethod
    def of(cls, text: str, makes: str) -> "Command":
        """From a line."""
        return cls(tuple(text.split()), makes)

    @property
    def text(self) -> str:
        """As it is typed."""
        return shlex.join(("jxemu", *self.words))


@dataclass(frozen=True)
class Study:
    """A machine: sounds that are written first, commands in their order, and what is measured then."""

    sounds: Callable[[Path], None]
    commands: tuple[Command, ...]
    measure: Callable[[Path, bool], Iterator[Row]]

    def trained_by(self, makes: str) -> str:
        """The command that makes a file."""
        return next(command.text for command in self.commands if command.makes == makes)


def _write(path: Path, sound: np.ndarray, rate: int = RATE) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        soundfile.write(path, sound, rate, "PCM_24")
    except soundfile.SoundFileError as error:  # no OSError, also where the disk is full
        raise OSError(errno.EIO, str(error), str(path)) from None


def _read(path: Path) -> tuple[np.ndarray, int]:
    data, rate = soundfile.read(path, dtype="float64", always_2d=True)
    return data.mean(1), rate


def sine(hertz: float = 440.0, seconds: float = 2.0, decay: float = 0.0) -> np.ndarray:
    """A sine at half of full scale, float64 (n,)."""
    at = np.arange(round(seconds * RATE)) / RATE
    return 0.5 * np.sin(2 * np.pi * hertz * at) * np.exp(-decay * at)


def peak(sound: np.ndarray, rate: int = RATE) -> float:
    """Frequency of the loudest partial, in hertz."""
    size = 1 << 20
    return float(np.argmax(np.abs(np.fft.rfft(sound * np.hanning(len(sound)), size))) * rate / size)


def _db(ratio: float) -> float:
    return float(20 * np.log10(max(ratio, 1e-30)))


# --- CRBM ----------------------------------------------------------------------------------------


def percussive() -> list[np.ndarray]:
    """Five percussive notes of this machine, mono at `RATE`, their peak at 0.8."""
    base = Tone(
        "PERC", dco1_wave="noise", dco2_wave="saw", mix_dco1=60, mix_dco2=100, vcf_freq=50, vcf_env=60, vcf_res=60,
        env1_d=40, env1_s=0, env2_d=40, env2_s=0, env2_r=40,
    )  # fmt: skip
    changes = ({}, {"vcf_res": 100}, {"mix_dco1": 0}, {"dco2_wave": "pulse"}, {"mix_dco1": 110})
    sounds = [
        render(base.replace(**change), [(48 + 3 * n, 110, 0.0, 0.4)], 0.45, sample_rate=RATE).mean(1)
        for n, change in enumerate(changes)
    ]
    return [0.8 * sound / np.abs(sound).max() for sound in sounds]


def _crbm_sounds(folder: Path) -> None:
    if not (folder / f"sounds/percussive/{PERCUSSIVE}.wav").exists():
        for n, sound in enumerate(percussive(), 1):
            _write(folder / f"sounds/percussive/{n}.wav", sound)


def _crbm(folder: Path, quick: bool) -> Iterator[Row]:
    study = STUDIES["crbm"]
    rng = np.random.default_rng(1)
    for order, goal in ((50, 1e-6), (100, 1e-3)):
        worst = 0.0
        for _ in range(20):
            first = _drawn(rng, order).polynomial
            worst = max(worst, float(np.abs(Poles.of_polynomial(first).polynomial / np.abs(first).max() - first / np.abs(first).max()).max()))  # fmt: skip
        yield Row("CRBM", f"polynomial to poles and back, order {order}: largest error", worst, goal)
    clamped = max(float(np.abs(_drawn(rng, 40).clamped(EPSILON).all).max()) for _ in range(20))
    yield Row("CRBM", "largest pole after a clamp", clamped, 1 - EPSILON + 1e-12)
    ringing = Poles.of(burg(sine(440.0, 0.5, 30.0), 2))
    for edit, wanted, moved in (("turned by 80 Hz", 520.0, ringing.rotated(80.0, RATE)), ("pitched 1.5 times", 660.0, ringing.pitched(1.5))):  # fmt: skip
        rung = _impulse(moved.coefficients, RATE)
        yield Row("CRBM", f"a ringing tone of 440 Hz {edit}: off by", abs(peak(rung) / wanted - 1), 0.01)
    yield Row("CRBM", "imaginary part of a polynomial after an edit, of its largest coefficient", _imaginary(rng), 1e-9)
    yield Row("CRBM", "running bins after a million samples: off their means by", _running_error(), 1e-6)
    step = 1e-7
    slopes = [float(crbm.soft_clip(0.8 + x + step, 0.8) - crbm.soft_clip(0.8 + x, 0.8)) / step for x in (-step, 0.0)]
    yield Row("CRBM", "corner of the soft clip (jump of its slope)", abs(slopes[0] - slopes[1]), 1e-6)
    for code in resynthesis.CODES:
        yield Row("CRBM", f"spectra as {code} and back to sound, dB", _code_snr(code), 60.0, above=True)

    ratios, originals = [], []
    for n in range(1, PERCUSSIVE + 1):
        sound, _ = _read(folder / f"sounds/percussive/{n}.wav")
        model, original = (crbm.Model.load(folder / f"crbm/{kind}{n}") for kind in ("", "original-"))
        seen = model.windows([sound]).sound
        plain = float(np.sqrt(np.square(seen[50:] - predicted(seen, burg(seen, 50))).mean())) * model.range.deviation
        ratios.append(model.error([sound]) / plain)
        originals.append(original.error([sound]) / plain)
    yield Row(
        "CRBM", "error of the next sample over that of LPC(50) by Burg, worst of five percussive notes", max(ratios), 1.05,
        seed=f"begun at random, not clamped: {max(originals):.3f}", baseline="LPC(50): 1", command=study.trained_by("crbm/1/card.json"),
    )  # fmt: skip
    beside = max(ratio / original for ratio, original in zip(ratios, originals, strict=True))
    yield Row("CRBM", "the same over that of one begun at random and not clamped, as the original was, worst of five", beside, 1.0,
              command=study.trained_by("crbm/original-1/card.json"))  # fmt: skip
    count, seconds = (2, 0.5) if quick else (GENERATIONS, GENERATED_SECONDS)
    model, free = crbm.Model.load(folder / "crbm/1"), crbm.Model.load(folder / "crbm/original-1")
    begun = time.perf_counter()
    model.generate(2 * RATE, 0)
    speed = 2 * RATE / (time.perf_counter() - begun)
    yield Row("CRBM", "samples generated a second, order 50, 200 hidden units", speed, 100_000, above=True,
              command=study.trained_by("crbm/1/card.json"))  # fmt: skip
    yield Row(
        "CRBM", f"of {count} sounds of {seconds:g} s, share within +-1, clamped and bent", _stays(model, count, seconds), 0.95, above=True,
        baseline=f"original, neither: {_stays(free, count, seconds, clip=False):.2f}", command=study.trained_by("crbm/1/card.json"),
    )  # fmt: skip


def _drawn(rng: np.random.Generator, order: int, most: float = 1.2) -> Poles:
    pairs = order // 2 - 1
    found = rng.uniform(0.3, most, pairs) * np.exp(1j * rng.uniform(0.02, np.pi - 0.02, pairs))
    return Poles(np.sort(rng.uniform(-most, most, order - 2 * pairs)), found)


def _imaginary(rng: np.random.Generator) -> float:
    return max(_drawn(rng, order).rotated(500, RATE).scaled(0.9).imaginary for order in (20, 50))


def _running_error() -> float:
    """A machine of one hidden unit that adds 0 or 0.1: what its bins said, from the sound that it made."""
    settings = crbm.Settings(RATE, 1, crbm.multiscale(8, 1.7))
    a, past = (
        np.eye(8)[-1] * 0.5 + np.eye(8)[0] * 0.4,
        0.1 * np.random.default_rng(0).standard_normal(sum(settings.sizes)),
    )
    model = crbm.Model(
        settings, crbm.Range(0.0, 1.0), a, np.zeros((8, 1)), np.array([0.1]), np.zeros(1), -0.05, 1.0, past
    )
    made, _ = model.generate(1_000_000, seed=1)
    left = made[-50:] - (crbm.contexts(made, settings.sizes, np.arange(len(made) - 50, len(made))) @ a - 0.05)
    return float(np.minimum(np.abs(left), np.abs(left - 0.1)).max())


def _impulse(coefficients: np.ndarray, count: int) -> np.ndarray:
    from scipy import signal

    return signal.lfilter([1.0], np.r_[1.0, -coefficients], np.r_[1.0, np.zeros(count - 1)])


def _code_snr(code: str) -> float:
    window, hop = crbm.FOURIER_WINDOW, crbm.FOURIER_HOP
    sound = 0.1 * np.random.default_rng(0).standard_normal(RATE // 2)
    rows = resynthesis.CODES[code].encode(resynthesis.analysed(sound, window, hop), window, hop)
    again = resynthesis.overlapped(resynthesis.CODES[code].decode(rows, window, hop), window, hop, len(sound))
    inside = slice(window, len(sound) - window)
    return -_db(float(np.linalg.norm(again[inside] - sound[inside]) / np.linalg.norm(sound[inside])))


def _stays(model: crbm.Model, count: int, seconds: float, clip: bool = True) -> float:
    """Share of generations that stay within +-1."""
    samples = round(seconds * model.settings.rate)

    def stays(seed: int) -> bool:
        made, _ = model.generate(samples, seed, clip=clip)
        return bool(np.isfinite(made).all() and np.abs(made).max() <= 1.0)

    with ThreadPoolExecutor(2) as pool:  # the kernel runs without the GIL
        return float(np.mean(list(pool.map(stays, range(count)))))


# --- follower ------------------------------------------------------------------------------------

DYING = Tone(
    "PLUCK", dco1_wave="saw", mix_dco1=99, mix_dco2=0, vcf_freq=45, vcf_env=70, env1_d=50, env1_s=0, env2_d=60, env2_s=0,
    vcf_dyn=2, vca_dyn=2,
)  # fmt: skip
HELD = 72
DYING_EPOCHS = 400


def _phase_sounds(folder: Path) -> None:
    if not (folder / "sounds/sine.wav").exists():
        _write(folder / "sounds/sine.wav", sine())


def _phase(folder: Path, quick: bool) -> Iterator[Row]:
    study = STUDIES["phase"]
    settings = phase_rnn.Settings(RATE, 512, 257)
    noise = 0.1 * np.random.default_rng(0).standard_normal(RATE // 2)
    again = phase_rnn.sound_of(phase_rnn.rows_of(noise, settings), settings, made=False)
    inside = slice(512, len(noise) - 512)
    snr = -_db(float(np.linalg.norm(again[inside] - noise[inside]) / np.linalg.norm(noise[inside])))
    yield Row("follower", "all bins, back to sound, dB", snr, 60.0, above=True)
    yield Row("follower", "likelihood: largest difference from the density, brute force", _likelihood_error(), 1e-5)
    cents = max(
        abs(1200 * np.log2(peak(phase_rnn.stretched(sine(), phase_rnn.Settings(RATE, 1024, 513), factor)) / 440))
        for factor in (0.5, 0.8, 1.5, 2.0)
    )
    yield Row("follower", "time-stretch 0.5 to 2: pitch off by, cents", float(cents), 2.0)
    clarinet = phase_rnn.Follower(phase_rnn.Settings(RATE, 512, 20, 100, 2, 3))
    weights = sum(part.numel() for part in clarinet.parameters())
    yield Row(
        "follower",
        "the clarinet's network: weights more than the original's",
        abs(weights - 162_143),
        0,
        seed="162,143",
    )
    for name in ("frames", "steps"):
        model = phase_rnn.Model.load(folder / f"phase/sine-{name}")
        made = model.sound(model.generate(10.0, seed=1))
        _write(folder / f"phase/sine-{name}.wav", made)
        for second in (3, 9):
            off = abs(peak(made[second * RATE : (second + 1) * RATE]) - 440)
            yield Row(
                "follower", f"learned sine of 440 Hz, {name}, after {second} s alone at temperature 1: off by, Hz", off, 0.5,
                seed="439.5 Hz, neighbours 6 Hz off", command=study.trained_by(f"phase/sine-{name}/card.json"),
            )  # fmt: skip
    cosine, decibels = _dying(folder, 1 if quick else DYING_EPOCHS)
    command = "jxemu ml bench -o . --only phase"
    yield Row("follower", f"a dying note of velocity {HELD}, which was not learned: course of the level (cosine)", cosine, 0.95,
              above=True, seed="its piano failed", command=command)  # fmt: skip
    yield Row("follower", "the same, distance from the note's own frames back to sound, dB MSS", decibels, 4.0,
              seed="its piano failed", command=command)  # fmt: skip


def _likelihood_error() -> float:
    torch.manual_seed(0)
    said, values = torch.randn(4, 3 * 5, dtype=torch.float64), torch.randn(4, 2, dtype=torch.float64)
    found, worst = phase_rnn.likelihood(said, values, 3).numpy(), 0.0
    for row, value, one in zip(said.numpy(), values.numpy(), found, strict=True):
        weights = np.exp(row[:3]) / np.exp(row[:3]).sum()
        means, sigmas = row[3:].reshape(3, 4)[:, :2], np.exp(row[3:].reshape(3, 4)[:, 2:])
        density = (weights * np.prod(np.exp(-0.5 * ((value - means) / sigmas) ** 2) / (sigmas * np.sqrt(2 * np.pi)), 1)).sum()  # fmt: skip
        worst = max(worst, abs(float(one) - float(np.log(density))))
    return worst


def _dying(folder: Path, epochs: int) -> tuple[float, float]:
    """A follower of one note at eight velocities, on one between them: cosine of the level's course, and MSS in dB."""
    settings = phase_rnn.Settings(RATE, 1024, 60, 60, 1, 1, sequence=40, conditions=phase_rnn.conditions(60, 0))

    def sound(velocity: int) -> np.ndarray:
        return render(DYING, [(60, velocity, 0.0, 0.6)], 0.7, sample_rate=RATE).mean(1).astype(float)

    def told(velocity: int, frames: int) -> np.ndarray:
        return phase_rnn.conditions_of(settings, frames, 60, velocity, np.zeros(0), 0.6)

    try:
        model = phase_rnn.Model.load(folder / "phase/dying")
    except phase_rnn.PhaseError:
        sounds = {velocity: sound(velocity) for velocity in range(20, 128, 15)}
        given = [told(v, len(phase_rnn.rows_of(each, settings))) for v, each in sounds.items()]
        schedule = Schedule(epochs, 8, 3e-3, 0.0)
        model = phase_rnn.train(list(sounds.values()), settings, folder / "phase/dying", schedule, given)
    rows = model.rows(sound(HELD))
    truth = phase_rnn.sound_of(rows, settings, made=False)
    made = model.sound(model.generate(len(rows) * settings.hop / RATE, 1, 0.3, conditions=told(HELD, len(rows))))
    count = min(len(truth), len(made))
    pair = [each[:count].astype(np.float32) for each in (truth, made * model.gain)]
    for name, each in zip(("truth", "made"), pair, strict=True):
        _write(folder / f"phase/dying-{name}.wav", each / max(1.0, float(np.abs(each).max())))
    return rms_cosine(*pair, RATE), mss(*pair, RATE)


# --- notes ---------------------------------------------------------------------------------------


def _notes(folder: Path, quick: bool) -> Iterator[Row]:
    yield from _space(folder, "notes", "space of notes", STUDIES["notes"])


def _space(folder: Path, name: str, machine: str, study: "Study") -> Iterator[Row]:
    """What a space has learned of sounds/NAME, and how it does on what that holds out."""
    space = samplegen.Space.load(folder / name)
    card, command = space.card, study.trained_by(f"{name}/card.json")
    latents = str(space.inner.latents)
    components = card["by principal components"][latents]

    def row(what: str, found: float, goal: float | None, above: bool = False, **more: str) -> Row:
        return Row(machine, what, found, goal, above, command=command, **more)

    yield row("outer auto-encoder: RMS error, % of full scale", card["outer"], 1.0, seed="2.2 to 2.3 through both")
    yield row("outer auto-encoder: times smaller", card["compression"], 13.5, True, seed="13.5")
    yield row("outer auto-encoder: weights", card["weights"][0], 500_000)
    plain = card["by principal components"]
    yield row(
        f"through {latents} latents: RMS error, % of full scale", card["through"], max(1.2, 0.8 * components),
        seed="2.2 to 2.3 at 7", baseline=f"principal components {components:.2f}, nearest sound {card['nearest']:.2f}",
    )  # fmt: skip
    for count, off in card["by latents"].items():
        if count != latents:
            yield row(
                f"through {count} latent{'s' * (count != '1')}",
                off,
                None,
                baseline=f"principal components {plain[count]:.2f}",
            )
    yield row("latents in use (over 0.05 nat)", card["active"], 6, True)
    yield row("loss of sounds that were not learned over that of those that were", (card["through"] / card["through, training"]) ** 2, 1.3)  # fmt: skip
    learned, judged = _groups(folder / "sounds" / name, space)
    few = judged.some(range(0, len(judged), max(1, len(judged) // 24)))
    truth = _sounds_of(space, few.pictures)
    made = {
        "the space": space.rebuilt(few),
        "components": samplegen.principal(learned.pictures, space.inner.latents)(few.pictures, space.inner.latents),
        "nearest": learned.pictures[samplegen.nearest(learned.pictures, few.pictures)],
    }
    apart = {
        name: float(
            np.mean([mss(a, b, space.picture.rate) for a, b in zip(truth, _sounds_of(space, rows), strict=True)])
        )
        for name, rows in made.items()
    }
    yield row(
        "rebuilt sounds: MSS, dB", apart["the space"], min(apart["components"], apart["nearest"]),
        baseline=f"components {apart['components']:.2f}, nearest {apart['nearest']:.2f}",
    )  # fmt: skip
    yield row("Griffin and Lim's way back to sound: spectral convergence", _convergence(space, few.pictures[:8]), 0.1)


def _groups(sounds: Path, space: samplegen.Space) -> tuple[samplegen.Sounds, samplegen.Sounds]:
    from jxemu.render import dataset

    whole, groups = dataset.open(sounds), []
    for split in ("train", "test"):
        items = whole.split(split)
        told = np.array([item.performance[0][:2] / 127 for item in items], np.float32)
        groups.append(samplegen.Sounds.of(Audio(items), space.picture, told))
    return groups[0], groups[1]


def _sounds_of(space: samplegen.Space, pictures: np.ndarray) -> list[np.ndarray]:
    return [space.picture.sound(picture, 0.5).astype(np.float32) for picture in pictures]


def _convergence(space: samplegen.Space, pictures: np.ndarray) -> float:
    """How far the spectrum of a sound is from the picture that it was made of, relative, at worst."""
    worst = 0.0
    for picture in pictures:
        again, _ = space.picture.of(space.picture.sound(picture, 0.5))
        levels = [np.expm1(each[0] * np.log1p(samplegen.MU)) for each in (picture, again)]
        levels = [each / np.linalg.norm(each) for each in levels]
        worst = max(worst, float(np.linalg.norm(levels[0] - levels[1])))
    return worst


# --- effects -------------------------------------------------------------------------------------


def _effect(folder: Path, quick: bool) -> Iterator[Row]:
    study = STUDIES["effect"]

    def row(what: str, name: str, tap: str, goal: float | None, seed: str = "validation 0.1 to 0.3") -> Row:
        model, pair = effect.Model.load(folder / f"effect/{name}"), _pair(folder, tap + UNSEEN)
        linear = effect.Model.load(folder / f"effect/{tap}-fir").errors(_pair(folder, tap + UNSEEN, False))["ESR"]
        made = model.apply(pair.dry, pair.controls if model.controls else None)
        _write(folder / f"effect/{name}.wav", np.clip(made, -1, 1), pair.rate)
        return Row(
            "effects", f"{what}: ESR on 30 s that were not learned from", model.errors(pair)["ESR"], goal, seed=seed,
            baseline=f"FIR(512) {linear:.2g}", command=study.trained_by(f"effect/{name}/card.json"),
        )  # fmt: skip

    yield row("linear low pass, FIR", "lowpass-fir", "lowpass", 1e-4)
    yield row("linear low pass, IIR", "lowpass-iir", "lowpass", 1e-4)
    yield row("linear low pass, gated convolutions", "lowpass-tcn", "lowpass", 0.01)
    for kind, (seed, text) in ORIGINALS.items():
        yield row(f"linear low pass, {text}", f"lowpass-{kind}", "lowpass", None, seed)
    yield row("VCF, resonant and driven, LSTM", "vcf", "vcf", 0.001)
    yield row("VCF, its cutoff moving, LSTM", "vcf-moving", "vcf-moving", 0.01)
    yield row("HPF, IIR", "hpf-2-iir", "hpf-2", 0.005)
    yield row("chorus, taps behind a moved delay", "chorus-1-delay", "chorus-1", 0.035)
    model, pair = effect.Model.load(folder / "effect/vcf"), _pair(folder, "vcf" + UNSEEN)
    sound = pair.dry[: 2 * pair.rate]
    whole, small = (model.apply(sound, None, block) for block in (4096, 64))
    yield Row("effects", "blocks of 64 and of 4,096 samples differ by", float(np.abs(whole - small).max()), 1e-6,
              command=study.trained_by("effect/vcf/card.json"))  # fmt: skip
    path = folder / "effect/lowpass-tcn.nam"
    tcn = effect.Model.load(folder / "effect/lowpass-tcn")
    effect.write_nam(tcn, path)
    apart = float(np.abs(effect.Model.load(path).apply(sound) - tcn.apply(sound)).max())
    yield Row("effects", "a .nam file read again differs by", apart, 1e-5, command=study.trained_by("effect/lowpass-tcn/card.json"))  # fmt: skip
    joins = _joins(tcn, sound)
    yield Row("effects", "windows of 2,048 samples, each from silence with its past, and the stream differ by", joins, 1e-5, seed="its half seconds click",
              command=study.trained_by("effect/lowpass-tcn/card.json"))  # fmt: skip
    fresh, again = (effect.Model.load(folder / f"effect/hpf-2-{kind}").card["curve"] for kind in ("untied", "reused"))
    goal = min(epoch["figures"]["ESR"] for epoch in fresh)
    needed = next((epoch["number"] for epoch in again if epoch["figures"]["ESR"] <= goal), None)
    sooner = next(epoch["number"] for epoch in fresh if epoch["figures"]["ESR"] <= goal) / needed if needed else 0.0
    yield Row(
        "effects", "filters of another effect taken over: times fewer epochs to the same ESR (0: never)", sooner, 2.0, above=True,
        seed="never tried", baseline=f"fresh filters reach {goal:.3g}, taken over {min(e['figures']['ESR'] for e in again):.3g}",
        command=study.trained_by("effect/hpf-2-reused/card.json"),
    )  # fmt: skip


def _joins(model: effect.Model, sound: np.ndarray, size: int = 2048) -> float:
    """How far windows of a sound, each with its past but from silence, are off the stream at the same places."""
    whole, past = model.apply(sound)[:, 0], model.network.past
    row, worst = torch.from_numpy(sound.astype(np.float32)), 0.0
    for begin in range(past, len(sound) - size - model.network.future, 16 * size):
        with torch.no_grad():
            made = model.network(row[None, None, begin - past : begin + size + model.network.future])[
                0, 0, past : past + size
            ]
        worst = max(worst, float(np.abs(made.numpy() - whole[begin : begin + size]).max()))
    return worst


def _pair(folder: Path, name: str, controlled: bool = True) -> effect.Pair:
    there = folder / "sounds" / name
    dry, rate = soundfile.read(there / "dry.wav", dtype="float32")
    wet, _ = soundfile.read(there / "wet.wav", dtype="float32", always_2d=True)
    control = there / "control.wav"
    if controlled and control.exists():
        return effect.Pair(dry, wet, rate, soundfile.read(control, dtype="float32", always_2d=True)[0])
    return effect.Pair(dry, wet, rate)


# --- sample model --------------------------------------------------------------------------------


def _string_sounds(folder: Path) -> None:
    tone = Tone("STRING", dco1_wave="saw", mix_dco1=99, mix_dco2=0, vcf_freq=50, vcf_env=50, env1_d=100, env1_s=0,
                env2_d=100, env2_s=0)  # fmt: skip
    for n, note in enumerate(STRINGS):
        path = folder / f"sounds/strings/{n}.wav"
        if not path.exists():
            _write(path, render(tone, [(note, 100, 0.0, 9.9)], 10.0, sample_rate=RATE).mean(1))


def _bits(folder: Path, name: str, what: str) -> Row:
    card = sample_lm.Model.load(folder / name).card
    bits = {coder: each for coder, each in card["bits"].items() if coder != "this model"}
    return Row(
        "sample model", f"bits a sample on {card['held']} {what}", card["bits"]["this model"], 0.85 * min(bits.values()),
        baseline=", ".join(f"{coder} {each:.2f}" for coder, each in bits.items()),
        command=STUDIES["samples"].trained_by(f"{name}/README.md"),
    )  # fmt: skip


def _samples(folder: Path, quick: bool) -> Iterator[Row]:
    model, command = sample_lm.Model.load(folder / "samples"), STUDIES["samples"].trained_by("samples/README.md")
    yield _bits(folder, "samples", "held-out notes")
    yield _bits(folder, "samples-told", "notes of tones that were not learned; note, velocity and tone are told")
    sound, rate = _read(folder / "sounds/strings/0.wav")
    blocks = 20
    count = round(len(sound) / rate * model.settings.rate) // blocks * blocks
    made = model.generate(sample_lm.clock(count, model.settings.rate), 1, SURE)
    _write(folder / "samples/alone.wav", made, model.settings.rate)
    levels = [
        np.sqrt(np.square(each[: len(each) // blocks * blocks].reshape(blocks, -1)).mean(1)) for each in (sound, made)
    ]
    off = float(np.abs(20 * np.log10(np.maximum(levels[1], 1e-9) / levels[0])).max())
    yield Row(
        "sample model",
        f"10 s alone, temperature {SURE}: level of half seconds off the note's by at most, dB",
        off,
        3.0,
        command=command,
    )


# --- all of them ---------------------------------------------------------------------------------


def _nothing(folder: Path) -> None:
    """No sounds of its own."""


_TRAIN = "ml effect train sounds/{tap}/dry.wav sounds/{tap}/wet.wav -o effect/{name} --model {kind}"


def _effect_commands() -> Iterator[Command]:
    for tap in TAPS:
        yield Command.of(f"ml effect tap {tap} -o sounds/{tap} --seconds 180 --seed 1", f"sounds/{tap}/wet.wav")
        yield Command.of(
            f"ml effect tap {tap} -o sounds/{tap}{UNSEEN} --seconds 30 --seed 2", f"sounds/{tap}{UNSEEN}/wet.wav"
        )
        yield Command.of(_TRAIN.format(tap=tap, name=f"{tap}-fir", kind="fir"), f"effect/{tap}-fir/card.json")
    for tap, name, kind, more in (
        ("lowpass", "lowpass-iir", "iir", ""),
        ("hpf-2", "hpf-2-iir", "iir", ""),
        ("chorus-1", "chorus-1-delay", "delay", "--control sounds/chorus-1/control.wav"),
        ("lowpass", "lowpass-tcn", "tcn-feather", "--epochs 8"),
        *(("lowpass", f"lowpass-{kind}", kind, "--epochs 6") for kind in ORIGINALS),
        (f"hpf-2{UNSEEN}", "hpf-2-untied", "conv-untied", "--epochs 8"),
        (f"hpf-2{UNSEEN}", "hpf-2-reused", "conv-untied", "--epochs 8 --reuse effect/lowpass-conv-untied"),
        ("vcf", "vcf", "lstm", "--epochs 44"),
        ("vcf-moving", "vcf-moving", "lstm", "--control sounds/vcf-moving/control.wav --epochs 36"),
    ):
        yield Command.of(f"{_TRAIN.format(tap=tap, name=name, kind=kind)} {more}", f"effect/{name}/card.json")


def _crbm_commands() -> Iterator[Command]:
    for n in range(1, PERCUSSIVE + 1):
        words = f"ml crbm train sounds/percussive/{n}.wav -o crbm/"
        yield Command.of(f"{words}{n} --epochs 30 --rate 0.01", f"crbm/{n}/card.json")
        yield Command.of(
            f"{words}original-{n} --epochs 30 --rate 0.01 --start random --no-clamp", f"crbm/original-{n}/card.json"
        )


_SPACE_SOUNDS = "dataset render --preset samplegen-1k --items {1} -o sounds/{0}"
_SPACE = "ml notes train sounds/{0} -o {0} --outer patch --size 48 --inner-hidden 512 --inner-epochs {1} --also 1 --also 2 --also 4"
_SINE = "ml phase train sounds/sine.wav -o phase/sine-{} --bins 10 --layers 1 --mixtures 1 --sequence 10 --epochs {}"
STUDIES = {
    "crbm": Study(_crbm_sounds, tuple(_crbm_commands()), _crbm),
    "phase": Study(
        _phase_sounds,
        (
            Command.of(_SINE.format("frames", 60), "phase/sine-frames/card.json"),
            Command.of(_SINE.format("steps", "150 --delta"), "phase/sine-steps/card.json"),
        ),
        _phase,
    ),
    "notes": Study(
        _nothing,
        (
            Command.of(_SPACE_SOUNDS.format("notes", 48_000), "sounds/notes/manifest.json"),
            Command.of(_SPACE.format("notes", 16), "notes/card.json"),
        ),
        _notes,
    ),
    "effect": Study(_nothing, tuple(_effect_commands()), _effect),
    "samples": Study(
        _string_sounds,
        (
            Command.of("ml samples train sounds/strings -o samples --epochs 12", "samples/README.md"),
            Command.of("dataset render --preset samplegen-1k --items 120 -o sounds/told", "sounds/told/manifest.json"),
            Command.of("ml samples train sounds/told -o samples-told --epochs 10", "samples-told/README.md"),
        ),
        _samples,
    ),
}
"""By the name of the command that trains the machine."""

BANKS = "banks"


def banks(files: Sequence[Path]) -> Study:
    """A space of notes of somebody's own banks (sysex, or a table of tones), some of which are held out as a whole.

    Its folders are named by what is in the files. Raises OSError.
    """
    name = f"{BANKS}-{hashlib.sha256(b''.join(file.read_bytes() for file in files)).hexdigest()[:8]}"
    given = [word for file in files for word in ("--files", str(file.resolve()))]
    sounds = (*_SPACE_SOUNDS.format(name, 24_000).split(), *given, "--split-by", "bank")
    study = Study(
        _nothing,
        (Command(sounds, f"sounds/{name}/manifest.json"), Command.of(_SPACE.format(name, 32), f"{name}/card.json")),
        lambda folder, quick: _space(folder, name, "space of notes, between banks", study),
    )
    return study


ORDER = tuple(name for study in STUDIES for name in ((study, BANKS) if study == "notes" else (study,)))
"""Of a table."""


def read(folder: Path) -> dict[str, list[Row]]:
    """Figures that a folder's table holds already, by study; none where there is no table that can be read."""
    try:
        told = json.loads((folder / "machines.json").read_text())
        return {name: [Row(**row) for row in told[name]] for name in ORDER if name in told}
    except (OSError, ValueError, TypeError, AttributeError):
        return {}


def markdown(rows: Sequence[Row]) -> str:
    """All figures as a table."""
    lines = [
        "# Listening machines", "",
        "Commands are given in this folder. Where a goal is missed, docs/sounds.md tells what was tried.", "",
        "| machine | what | found | goal | | original | beside it | trained by |", "|---|---|---|---|---|---|---|---|",
    ]  # fmt: skip
    for row in rows:
        goal = "" if row.goal is None else f"{'>=' if row.above else '<='} {row.goal:.4g}"
        met = {None: "", True: "met", False: "**missed**"}[row.met]
        command = row.command if row.command == NOT_TRAINED else f"`{row.command}`"
        lines.append(f"| {row.machine} | {row.what} | {row.found:.4g} | {goal} | {met} | {row.seed} | {row.baseline} | {command} |")  # fmt: skip
    return "\n".join([*lines, "", "![goals](machines.png)", ""])


def draw(rows: Sequence[Row], path: Path) -> None:
    """How far each figure is from its goal: to the left of the line it is met."""
    from matplotlib.figure import Figure

    shown = [row for row in rows if row.goal]
    figure = Figure(figsize=(11, 1.5 + 0.28 * len(shown)), layout="constrained")
    axis = figure.subplots()
    for n, row in enumerate(reversed(shown)):
        ratio = row.goal / max(row.found, 1e-12) if row.above else row.found / row.goal
        axis.plot(np.clip(ratio, 1e-3, 1e2), n, "o", color="#1f5f8b" if row.met else "#c2571a")
    axis.axvline(1.0, color="black", linewidth=0.8)
    axis.set(xscale="log", xlabel="of the goal (left of the line: met)", yticks=range(len(shown)))
    axis.set_yticklabels([f"{row.machine}: {row.what.split(';')[0][:90]}" for row in reversed(shown)], fontsize=7)
    figure.savefig(path, dpi=110)


def write(found: Mapping[str, Sequence[Row]], folder: Path) -> str:
    """machines.json, machines.md and machines.png of the figures of each study; gives the table. Raises OSError."""
    (folder / "machines.json").write_text(
        json.dumps({name: [asdict(row) for row in rows] for name, rows in found.items()}, indent=1) + "\n"
    )
    rows = [row for name in ORDER for row in found.get(name, ())]
    text = markdown(rows)
    (folder / "machines.md").write_text(text)
    draw(rows, folder / "machines.png")
    return text
