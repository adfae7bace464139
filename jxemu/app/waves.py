"""Sounds as the commands of learning machines read and write them: files, folders, datasets."""

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from jxemu.app.files import fail, read_bank, whole_file

if TYPE_CHECKING:
    from jxemu.render.dataset import Dataset


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


def wave_files(paths: Sequence[Path]) -> list[Path]:
    """Files, and the WAV and FLAC files in folders by name."""
    return [
        file
        for path in paths
        for file in (
            sorted(each for each in path.iterdir() if each.suffix.lower() in (".wav", ".flac"))
            if path.is_dir()
            else [path]
        )
    ]


def read_waves(paths: Sequence[Path], most: float) -> tuple[list[np.ndarray], int]:
    """Sounds of files and folders, each mono [shape=(n,)], and their one rate; anything else ends the command."""
    files = wave_files(paths)
    if not files:
        fail(f"{paths[0]} holds no WAV or FLAC files")
    sounds, rates = [], {}
    for file in files:
        data, rate = read_wave(file, most)
        rates[rate] = file
        sounds.append(data.mean(1))
    if len(rates) > 1:
        fail(f"the sounds have several rates: {', '.join(f'{file} {rate} Hz' for rate, file in rates.items())}")
    return sounds, next(iter(rates))


def resampled(sound: np.ndarray, rate: int, wanted: int) -> np.ndarray:
    """A sound at another rate."""
    import soxr

    return sound if rate == wanted else soxr.resample(sound, rate, wanted)


def is_dataset(path: Path) -> bool:
    """Whether a folder is a rendered dataset."""
    return (path / "spec.json").exists()


def dataset_notes(
    path: Path, split: str, wanted: Collection[int] = ()
) -> tuple[Sequence[np.ndarray], int, list[tuple], list[str]]:
    """Sounds of a split, mono, read when asked for, their rate, what each was played with (note, velocity, p, hold), and the names of p.

    wanted : only sounds of these notes.  A dataset that is not whole, or without such single notes in sound, ends the command.
    """
    from jxemu.ml.data import Audio

    items = _items(path, split, wanted)
    notes = [(*item.performance[0][:2].tolist(), item.p, float(item.performance[0][3])) for item in items]
    return Audio(items), items.spec.machine.sample_rate, notes, list(items.names)


def dataset_tones(path: Path, split: str, wanted: Collection[int] = ()) -> list[str]:
    """Names of the tones of the same items; empty ones of tones that were drawn."""
    return [name.decode(errors="replace") for name in _items(path, split, wanted).column("name")]


def _items(path: Path, split: str, wanted: Collection[int]) -> "Dataset":
    from jxemu.render import dataset

    try:
        whole = dataset.open(path)
    except dataset.DatasetError as error:
        fail(str(error))
    spec = whole.spec
    if not spec.store.audio or spec.takes != 1 or spec.machine.boards != 1 or spec.performance.most_keys != 1:
        fail(f"{path} must hold audio of single notes, one an item (store.audio = true)")
    items = whole.split(split)
    if wanted:
        notes = items.gathered("performance")[:, 0, 0] if len(items) else np.zeros(0)
        items = dataset.Dataset(path, items.indices[np.isin(notes, list(wanted))])
    if not len(items):
        fail(f"{path} has no items for {split}{' of the notes that are wanted' if wanted else ''}")
    return items


def tone_parameters(bank: Path | None, tone: str | None, names: Sequence[str]) -> np.ndarray:
    """Parameters 0..1 of a bank's tone, in the order of names; what is not there ends the command."""
    from jxemu.patch.parameter import PARAMETERS

    if not names:
        return np.zeros(0)
    if bank is None:
        fail("the model learned tones: give --bank, and --tone for another than its first")
    tones = {each.name.strip(): each for each in read_bank(bank).tones}
    if not tones or (tone is not None and tone not in tones):
        fail(f"{bank} has no tone {tone or ''!r}")
    values = (tones[tone] if tone else next(iter(tones.values()))).values()
    return np.array([values[name] / PARAMETERS[name].top for name in names])


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
    picture.specgram(sound + hiss, NFFT=max(16, min(1024, len(sound) // 4)), Fs=rate, noverlap=0, cmap="magma")
    picture.set(ylabel="Hz")
    for axis in more:
        extent = (0, len(sound) / rate, 0, active.shape[1])
        axis.imshow(active.T, aspect="auto", origin="lower", cmap="gray_r", extent=extent)
        axis.set(ylabel="hidden unit")
    figure.savefig(path, dpi=100)
