"""Sample after sample: exact codes and costs, a network that hears far back, and bits below linear prediction's."""

import numpy as np
import pytest
import soundfile
from typer.testing import CliRunner

from jxemu.app.cli import app

torch = pytest.importorskip("torch")

from jxemu.ml import sample_lm  # noqa: E402 - what they need was looked for first
from jxemu.ml.modes import Modes  # noqa: E402
from jxemu.ml.train import Schedule  # noqa: E402

RATE = 8_000


def tone(hertz=220.0, seconds=0.6):
    at = np.arange(round(seconds * RATE)) / RATE
    return 0.6 * np.sign(np.sin(2 * np.pi * hertz * at)) * np.exp(-2 * at)


def test_codes_there_and_back_stay_within_a_step():
    sound = np.linspace(-1, 1, 5_001)
    again = sample_lm.decode(sample_lm.encode(sound))
    steps = np.diff(sample_lm.EDGES[1:-1]).max()
    assert np.abs(again - sound).max() <= steps
    assert np.array_equal(sample_lm.encode(again), sample_lm.encode(sound))
    assert np.abs(again[np.abs(sound) < 0.001]).max() < 0.0012  # quiet samples have fine steps


def test_chances_of_all_steps_make_one():
    codes = np.arange(256)
    for mean, deviation in ((0.0, 0.1), (0.9, 0.01), (-0.3, 1e-4)):
        cost = np.array([sample_lm.bits_of_normal(np.array([code]), np.array([mean]), deviation) for code in codes])
        assert (2.0**-cost).sum() == pytest.approx(1.0, abs=1e-6)


def test_a_sound_of_known_density_costs_its_entropy():
    rng = np.random.default_rng(0)
    sound = 0.1 * rng.standard_normal(100_000)
    codes = sample_lm.encode(sound)
    counts = np.bincount(codes, minlength=256) / len(codes)
    entropy = -(counts[counts > 0] * np.log2(counts[counts > 0])).sum()
    assert sample_lm.bits_of_normal(codes, np.zeros(len(codes)), 0.1) == pytest.approx(entropy, abs=0.01)


def test_modes_as_a_convolution_equal_modes_step_by_step():
    torch.manual_seed(0)
    modes, x = Modes(3, 4).double(), torch.randn(2, 3, 50, dtype=torch.float64)
    pole, read = modes.poles()
    whole, _ = modes(x, None)
    state, rows = torch.zeros(2, 3, 4, dtype=torch.complex128), []
    for n in range(50):
        state = state * pole + x[..., n, None]
        rows.append((state * read).sum(-1).real + modes.straight * x[..., n])
    assert torch.allclose(whole, torch.stack(rows, 2), atol=1e-6)
    first, kept = modes(x[..., :20], torch.zeros(2, 3, 4, dtype=torch.complex128))
    assert torch.allclose(torch.cat([first, modes(x[..., 20:], kept)[0]], 2), whole, atol=1e-6)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    sounds = [tone(hertz) for hertz in (200, 210, 230, 240)]
    told = [sample_lm.clock(len(sound), RATE) for sound in sounds]
    settings = sample_lm.Settings(RATE, width=24, modes=6, layers=2)
    return sample_lm.train(sounds, told, settings, tmp_path_factory.mktemp("lm"), Schedule(30, 4, 1e-2, 0.0)), sounds


def test_it_takes_fewer_bits_than_linear_prediction_on_a_note_it_never_heard(trained):
    model, sounds = trained
    held = [tone(220)]
    mine = model.bits(held, [sample_lm.clock(len(held[0]), RATE)])
    beside = sample_lm.linear_bits(sounds, held, model.gain)
    assert mine < 0.85 * min(beside.values())


def test_a_step_at_a_time_it_says_what_the_network_says(trained):
    """Drawing nothing, the sound is the likeliest level each time: the network on that very sound agrees."""
    model, _ = trained
    told = sample_lm.clock(400, RATE)
    codes = sample_lm.encode(model.generate(told, temperature=0.0) * model.gain)
    was = torch.from_numpy(np.r_[sample_lm.LEVELS, codes[:-1]])[None]
    with torch.no_grad():
        logits = model.network(was, torch.from_numpy(told)[None])[0].numpy()
    assert (logits.argmax(1) == codes).mean() > 0.99


def test_a_generated_note_falls_within_six_decibels_of_its_kind_after_seconds_of_training(trained):
    model, sounds = trained
    made = model.generate(sample_lm.clock(len(sounds[0]), RATE), seed=1)
    blocks = [np.sqrt(np.square(each[:4_800].reshape(6, -1)).mean(1)) for each in (made, sounds[0])]
    assert np.abs(20 * np.log10(blocks[0] / blocks[1])).max() < 6


def test_a_saved_model_sounds_the_same(trained, tmp_path):
    model, _ = trained
    model.save(tmp_path)
    told = sample_lm.clock(300, RATE)
    assert np.array_equal(sample_lm.Model.load(tmp_path).generate(told, 2), model.generate(told, 2))
    assert not np.array_equal(model.generate(told, 3), model.generate(told, 2))


def test_what_cannot_be_learned_or_read_is_said(trained, tmp_path):
    settings = sample_lm.Settings(RATE)
    with pytest.raises(sample_lm.SampleError, match="silent"):
        sample_lm.train([np.zeros(99)], [np.zeros((99, 3), np.float32)], settings, tmp_path)
    with pytest.raises(sample_lm.SampleError, match="beside each sample"):
        sample_lm.train([tone()], [np.zeros((9, 3), np.float32)], settings, tmp_path)
    with pytest.raises(sample_lm.SampleError, match="wants 3 conditions"):
        trained[0].generate(np.zeros((9, 4), np.float32))
    with pytest.raises(sample_lm.SampleError, match="holds no sample model"):
        sample_lm.Model.load(tmp_path)


def command(*words):
    return CliRunner().invoke(app, ["ml", "samples", *map(str, words)])


def test_the_commands_train_and_sound(tmp_path):
    for n, hertz in enumerate((200, 220, 240)):
        soundfile.write(tmp_path / f"{n}.wav", tone(hertz, 0.3), RATE)
    done = command("train", tmp_path, "-o", tmp_path / "m", "--rate", 4_000, "--epochs", 1, "--width", 8, "--layers", 1)
    assert done.exit_code == 0, done.output
    table = (tmp_path / "m/README.md").read_text()
    assert "LPC(50)" in table
    assert "CRBM(50)" in table
    done = command("generate", tmp_path / "m", "-o", tmp_path / "out.wav", "--seconds", 0.2)
    assert done.exit_code == 0, done.output
    assert len(soundfile.read(tmp_path / "out.wav")[0]) == 800
    assert (tmp_path / "out.png").exists()
    assert "--held" in command("train", tmp_path / "0.wav", "-o", tmp_path / "n").output
    assert "holds no sample model" in command("generate", tmp_path, "-o", tmp_path / "x.wav").output
