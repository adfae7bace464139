"""Sound files as the commands of learning machines read and write them."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from jxemu.app.files import fail, whole_file


def read_wave(path: Path, most: float) -> tuple[np.ndarray, int]:
    """A sound [shape=(n, channels), -1..1] of at most so many seconds, and its rate; anything else ends the command."""
    import soundfile

    try:
        data, rate = soundfile.read(path, dtype="float64", always_2d=True)
    except (OSError, soundfile.SoundFileError) as error:
        fail(f"cannot read {path}: {error}")
    if len(data) > most * rate:
        fail(f"{path} is {len(data) / rate:.0f} s long; {most:g} s is the most that is taken at once")
    if not np.isfinite(data).all():
        fail(f"{path} holds samples that are no numbers, the first at {int(np.argmin(np.isfinite(data).all(1)))}")
    return data, rate


def read_waves(paths: Sequence[Path], most: float) -> tuple[list[np.ndarray], int]:
    """Sounds of files and folders, each mono [shape=(n,)], and their one rate; anything else ends the command."""
    files = [file for path in paths for file in (sorted(path.glob("*.wav")) if path.is_dir() else [path])]
    if not files:
        fail(f"{paths[0]} holds no WAV files")
    sounds, rates = [], {}
    for file in files:
        data, rate = read_wave(file, most)
        rates[rate] = file
        sounds.append(data.mean(1))
    if len(rates) > 1:
        fail(f"the sounds have several rates: {', '.join(f'{file} {rate} Hz' for rate, file in rates.items())}")
    return sounds, next(iter(rates))


def write_wave(path: Path, sound: np.ndarray, rate: int, kind: str = "PCM_24") -> None:
    """Write a WAV file; what goes wrong ends the command."""
    import soundfile

    with whole_file(path) as part:
        try:
            soundfile.write(part, sound, rate, kind, format="WAV")
        except soundfile.SoundFileError as error:
            fail(f"cannot write {path}: {error}")


def draw_sound(path: Path, sound: np.ndarray, rate: int, active: np.ndarray | None = None) -> None:
    """A picture of a sound (n,): its course, its spectrogram, and what hidden units did (steps, units), where there are some."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 6), layout="constrained")
    wave, picture, *more = figure.subplots(2 if active is None else 3, 1)
    wave.plot(np.arange(len(sound)) / rate, sound, color="#1f5f8b", linewidth=0.4)
    wave.set(ylabel="level", xlim=(0, len(sound) / rate))
    hiss = 1e-9 * np.random.default_rng(0).standard_normal(len(sound))  # silence has no logarithm
    picture.specgram(sound + hiss, NFFT=min(1024, len(sound)), Fs=rate, noverlap=0, cmap="magma")
    picture.set(ylabel="Hz")
    for axis in more:
        extent = (0, len(sound) / rate, 0, active.shape[1])
        axis.imshow(active.T, aspect="auto", origin="lower", cmap="gray_r", extent=extent)
        axis.set(ylabel="hidden unit")
    figure.savefig(path, dpi=100)
