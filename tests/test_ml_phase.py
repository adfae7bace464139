"""Frames of a phase vocoder and what follows them: exact likelihoods, tones that stay in tune, notes that die away."""

import numpy as np
import pytest
import soundfile
from typer.testing import CliRunner

import jxemu
from jxemu.app.cli import app
from jxemu.patch.factory import factory_bank

torch = pytest.importorskip("torch")

from jxemu.ml import machines, phase_rnn  # noqa: E402 - what they need was looked for first
from jxemu.ml.metrics import mss, rms_cosine  # noqa: E402
from jxemu.ml.train import Schedule  # noqa: E402

RATE = 44_100
QUICK = Schedule(3, 16, 3e-3, 0.0)


def sine(hertz=440.0, seconds=1.0, decay=0.0):
    at = np.arange(round(seconds * RATE)) / RATE
    return 0.5 * np.sin(2 * np.pi * hertz * at) * np.exp(-decay * at)


def peak(sound):
    size = 1 << 20
    return np.argmax(np.abs(np.fft.rfft(sound * np.hanning(len(sound)), size))) * RATE / size


# --- frames --------------------------------------------------------------------------------------


@pytest.mark.parametrize("window", [512, 2048])
def test_all_bins_give_the_sound_back(window):
    settings = phase_rnn.Settings(RATE, window, window // 2 + 1)
    sound = 0.1 * np.random.default_rng(0).standard_normal(RATE // 2)
    again = phase_rnn.sound_of(phase_rnn.rows_of(sound, settings), settings, made=False)
    inside = slice(window, len(sound) - window)
    assert np.square(again[inside] - sound[inside]).sum() < 1e-6 * np.square(sound[inside]).sum()


def test_few_bins_are_a_low_pass():
    settings = phase_rnn.Settings(RATE, 512, 10)
    both = sine(300) + sine(5_000)
    again = phase_rnn.sound_of(phase_rnn.rows_of(both, settings), settings, made=False)
    assert np.abs(again[2_000:-2_000] - sine(300)[2_000 : len(again) - 2_000]).max() < 0.01


@pytest.mark.parametrize("factor", [0.5, 0.8, 1.5, 2.0])
def test_a_stretched_sound_keeps_its_pitch_and_its_level(factor):
    settings = phase_rnn.Settings(RATE, 1024, 513)
    made = phase_rnn.stretched(sine(440), settings, factor)
    assert len(made) == pytest.approx(factor * RATE, abs=1024)
    assert abs(1200 * np.log2(peak(made) / 440)) < 2
    assert np.abs(made[2_000:-2_000]).max() == pytest.approx(0.5, abs=0.05)


def test_a_held_frame_is_as_loud_as_the_first_sound():
    settings = phase_rnn.Settings(RATE)
    for first, second in ((0.5, 0.02), (0.02, 0.5)):
        made = phase_rnn.crossed(first * sine(440), second * sine(700), settings, held=True)
        assert np.abs(made).max() == pytest.approx(np.abs(first * sine(440)).max(), rel=0.3)


@pytest.mark.parametrize(("frames", "length"), [(100, 20), (59, 40), (440, 300), (10, 40)])
def test_windows_reach_from_a_sound_s_beginning_to_its_end(frames, length):
    data = phase_rnn.Runs([np.arange(frames, dtype=float)[:, None]], [np.zeros((frames, 0))], length)
    seen, _ = data.rows(torch.arange(len(data)))
    assert set(seen.flatten().tolist()) == set(range(frames))


def test_a_crossed_sound_has_the_levels_of_one_and_the_frequencies_of_the_other():
    settings = phase_rnn.Settings(RATE, 1024, 513)
    made = phase_rnn.crossed(sine(440, decay=5), sine(455), settings)
    assert peak(made) == pytest.approx(455, abs=1)
    assert np.abs(made[30_000:32_000]).max() < 0.1 * np.abs(made[1_000:3_000]).max()
    moved = phase_rnn.crossed(sine(440, decay=5), sine(700), settings, held=True)
    assert peak(moved) == pytest.approx(700, abs=2)
    assert np.abs(moved[30_000:32_000]).max() < 0.1 * np.abs(moved[1_000:3_000]).max()


def test_settings_that_cannot_be_are_refused():
    for wrong in ({"window": 510}, {"bins": 300}, {"mixtures": 0}, {"dropout": 1.0}):
        with pytest.raises(phase_rnn.PhaseError, match="window of 16"):
            phase_rnn.Settings(RATE, **wrong)
    with pytest.raises(phase_rnn.PhaseError, match="as long"):
        phase_rnn.stretched(sine(), phase_rnn.Settings(RATE), 50)


# --- likelihood ----------------------------------------------------------------------------------


def test_the_likelihood_is_that_of_the_density():
    said, values = torch.randn(4, 3 * 5, dtype=torch.float64), torch.randn(4, 2, dtype=torch.float64)
    found = phase_rnn.likelihood(said, values, 3)
    for row, value, one in zip(said.numpy(), values.numpy(), found.numpy(), strict=True):
        weights = np.exp(row[:3]) / np.exp(row[:3]).sum()
        total = 0.0
        for weight, mean, sigma in zip(
            weights, row[3:].reshape(3, 4)[:, :2], np.exp(row[3:].reshape(3, 4)[:, 2:]), strict=True
        ):
            total += weight * np.prod(np.exp(-0.5 * ((value - mean) / sigma) ** 2) / (sigma * np.sqrt(2 * np.pi)))
        assert one == pytest.approx(np.log(total), rel=1e-9)


def test_eighty_values_far_off_do_not_underflow():
    said = torch.zeros(1, 3 * 161)
    assert torch.isfinite(phase_rnn.likelihood(said, torch.full((1, 80), 40.0), 3)).all()


def test_the_likelihoods_slope_is_right():
    said = torch.randn(2, 3 * 5, dtype=torch.float64, requires_grad=True)
    values = torch.randn(2, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda a, b: phase_rnn.likelihood(a, b, 3), (said, values), atol=1e-5)


def test_the_clarinets_network_has_as_many_weights_as_the_original():
    network = phase_rnn.Follower(phase_rnn.Settings(RATE, 512, 20, 100, 2, 3))
    assert sum(part.numel() for part in network.parameters()) == 162_143


# --- learning ------------------------------------------------------------------------------------


@pytest.mark.parametrize(("absolute", "epochs"), [(True, 60), (False, 150)])
def test_a_learned_sine_stays_in_tune_for_ten_seconds(absolute, epochs, tmp_path):
    settings = phase_rnn.Settings(RATE, 512, 10, 100, 1, 1, absolute, sequence=10)
    model = phase_rnn.train([sine(seconds=2.0)], settings, tmp_path, Schedule(epochs, 16, 3e-3, 0.0))
    made = model.sound(model.generate(10.0, seed=1))
    assert peak(made[3 * RATE : 4 * RATE]) == pytest.approx(440, abs=0.5)
    assert peak(made[9 * RATE :]) == pytest.approx(440, abs=0.5)
    assert np.abs(made[9 * RATE :]).max() == pytest.approx(0.5, abs=0.25)


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    settings = phase_rnn.Settings(RATE, 512, 10, 20, 1, 2, sequence=10)
    return phase_rnn.train([sine()], settings, tmp_path_factory.mktemp("small"), QUICK)


def test_a_saved_model_sounds_the_same_and_a_seed_decides(small, tmp_path):
    small.save(tmp_path)
    again = phase_rnn.Model.load(tmp_path)
    assert np.array_equal(again.generate(0.5, 3), small.generate(0.5, 3))
    assert not np.array_equal(small.generate(0.5, 4), small.generate(0.5, 3))


def test_a_model_that_learned_conditions_begins_with_what_it_is_given(tmp_path):
    settings = phase_rnn.Settings(RATE, 512, 10, 20, 1, 2, sequence=10, conditions=1)
    frames = phase_rnn.rows_of(sine(), settings)
    model = phase_rnn.train([sine()], settings, tmp_path, QUICK, [np.zeros((len(frames), 1))])
    told = np.zeros((round(0.2 * RATE / settings.hop), 1))
    rest, own = (model.generate(0.2, 1, begin=begin, conditions=told) for begin in (None, frames[20:60]))
    assert not np.array_equal(rest, own)


def test_temperature_may_run_a_course(small):
    calm, still = (small.generate(1.0, 1, heat) for heat in ([(0.0, 1e-8), (0.5, 1e-8), (0.6, 4.0)], 1e-8))
    frames = round(0.45 * RATE / 128)
    steps = np.abs(np.diff(calm, axis=0)).mean(1)
    assert steps[frames + 60 :].mean() > 5 * np.abs(np.diff(still, axis=0)).mean(1)[frames + 60 :].mean()
    assert steps[20:frames].mean() < 0.3 * steps[frames + 60 :].mean()


def test_reset_frames_come_from_another_sound_at_their_period(small):
    other = small.rows(sine(800))
    made = small.generate(1.0, 1, 1e-8, reset=other, period=0.25)
    plain = small.generate(1.0, 1, 1e-8)
    at = round(0.25 * RATE / 128)
    assert np.array_equal(made[:at], plain[:at])
    assert np.abs(made[at] - plain[at]).max() > 0.01


@pytest.mark.slow
def test_notes_die_away_as_those_that_were_not_learned_do(tmp_path):
    rate = 44_100
    settings = phase_rnn.Settings(rate, 1024, 60, 60, 1, 1, sequence=40, conditions=phase_rnn.conditions(60, 0))

    def sound(velocity):
        return jxemu.render(machines.DYING, [(60, velocity, 0.0, 0.6)], 0.7, sample_rate=rate).mean(1).astype(float)

    def told(velocity, frames):
        return phase_rnn.conditions_of(settings, frames, 60, velocity, np.zeros(0), 0.6)

    sounds = {velocity: sound(velocity) for velocity in range(20, 128, 15)}
    given = [told(v, len(phase_rnn.rows_of(each, settings))) for v, each in sounds.items()]
    model = phase_rnn.train(list(sounds.values()), settings, tmp_path, Schedule(120, 8, 3e-3, 0.0), given)
    truth = phase_rnn.sound_of(model.rows(sound(72)), settings, made=False)
    frames = len(model.rows(sound(72)))
    rows = model.generate(frames * settings.hop / rate, 1, 0.3, conditions=told(72, frames))
    made = model.sound(rows) * model.gain
    count = min(len(truth), len(made))
    pair = [each[:count].astype(np.float32) for each in (truth, made)]
    assert rms_cosine(*pair, rate) > 0.95
    assert mss(*pair, rate) < 6


def test_what_cannot_be_learned_or_read_is_said(tmp_path, small):
    settings = small.settings
    for sounds, said in (([np.zeros(RATE)], "silent"), ([sine()[:100]], "shorter"), ([], "silent")):
        with pytest.raises(phase_rnn.PhaseError, match=said):
            phase_rnn.train(sounds, settings, tmp_path)
    with pytest.raises(phase_rnn.PhaseError, match="beside each frame"):
        phase_rnn.train([sine()], settings, tmp_path, conditions=[np.zeros((3, 1))])
    with pytest.raises(phase_rnn.PhaseError, match="holds no follower"):
        phase_rnn.Model.load(tmp_path)


# --- the commands --------------------------------------------------------------------------------


def command(*words):
    return CliRunner().invoke(app, ["ml", "phase", *map(str, words)])


def test_the_commands_train_generate_stretch_and_cross(tmp_path):
    soundfile.write(tmp_path / "a.wav", sine(440, 0.5), RATE)
    soundfile.write(tmp_path / "b.wav", sine(600, 0.5), RATE)
    done = command("train", tmp_path / "a.wav", "-o", tmp_path / "m", "--bins", 10, "--hidden", 20, "--epochs", 1)
    assert done.exit_code == 0, done.output
    assert (tmp_path / "m/curve.png").exists()
    out = tmp_path / "out.wav"
    for words in (
        ["generate", tmp_path / "m", "--seconds", 0.5, "--temperature", "0:0.1,1:1", "--reset", tmp_path / "b.wav"],
        ["stretch", tmp_path / "a.wav", "--factor", 1.5],
        ["cross", tmp_path / "a.wav", tmp_path / "b.wav"],
    ):
        done = command(*words, "-o", out)
        assert done.exit_code == 0, done.output
        assert soundfile.info(out).duration > 0.4
        assert out.with_suffix(".png").exists()


def test_what_is_made_depends_on_where_it_begins_how_components_are_chosen_and_how_often_it_is_reset(tmp_path):
    soundfile.write(tmp_path / "a.wav", sine(440, 0.5), RATE)
    soundfile.write(tmp_path / "b.wav", sine(2_000, 0.5), RATE)
    done = command("train", tmp_path / "a.wav", "-o", tmp_path / "m", "--bins", 40, "--hidden", 20, "--epochs", 1, "--delta", "--mixtures", 3)  # fmt: skip
    assert done.exit_code == 0, done.output
    other = tmp_path / "b.wav"
    made = {}
    for name, options in (
        ("plain", []), ("from", ["--from", other]), ("heaviest", ["--heaviest"]),
        ("seldom", ["--reset", other, "--period", 0.4]), ("often", ["--reset", other, "--period", 0.05]),
    ):  # fmt: skip
        done = command("generate", tmp_path / "m", "-o", tmp_path / f"{name}.wav", "--seconds", 0.5, *options)
        assert done.exit_code == 0, done.output
        made[name] = soundfile.read(tmp_path / f"{name}.wav")[0]
    assert not any(np.array_equal(made["plain"], made[name]) for name in ("from", "heaviest", "seldom"))

    def high(sound):
        spectrum = np.square(np.abs(np.fft.rfft(sound)))
        near = round(2_000 * len(sound) / RATE)
        return spectrum[near - 40 : near + 40].sum() / spectrum.sum()

    assert high(made["often"]) > high(made["seldom"]) > high(made["plain"])


def test_sounds_are_brought_to_a_rate_that_is_asked_for(tmp_path):
    soundfile.write(tmp_path / "a.wav", sine(440, 0.5), RATE)
    done = command(
        "train", tmp_path / "a.wav", "-o", tmp_path / "m", "--sample-rate", 8_000, "--bins", 10, "--epochs", 1
    )
    assert done.exit_code == 0, done.output
    command("generate", tmp_path / "m", "-o", tmp_path / "b.wav", "--seconds", 0.5)
    assert soundfile.info(tmp_path / "b.wav").samplerate == 8_000
    assert phase_rnn.Model.load(tmp_path / "m").settings.rate == 8_000


def test_a_held_frame_takes_the_other_sounds_level_by_command(tmp_path):
    fades = np.linspace(1, 0, RATE // 2)
    soundfile.write(tmp_path / "a.wav", sine(440, 0.5) * fades, RATE)
    soundfile.write(tmp_path / "b.wav", sine(600, 0.5) * fades[::-1], RATE)
    done = command("cross", tmp_path / "a.wav", tmp_path / "b.wav", "-o", tmp_path / "c.wav", "--held")
    assert done.exit_code == 0, done.output
    sound = soundfile.read(tmp_path / "c.wav")[0]
    assert np.abs(sound[: RATE // 8]).max() > 2 * np.abs(sound[-RATE // 8 :]).max()
    assert np.abs(np.fft.rfft(sound)).argmax() * RATE / len(sound) == pytest.approx(600, abs=5)


def test_a_dataset_teaches_notes_and_tones(tmp_path):
    (tmp_path / "spec.toml").write_text(
        'version = 1\nname = "small"\nitems = 6\nseconds = 0.5\n[machine]\nsample_rate = 44100\n'
        "[performance]\nchoose = 'grid'\nnotes = [48, 60]\nvelocities = [60, 120]\nhold = 0.3\n[store]\naudio = true\nfeatures = []\n"
        "[tones]\nsource = 'prior'\n[splits]\ntrain = 1.0\nvalidation = 0.0\ntest = 0.0\n"
    )
    done = CliRunner().invoke(app, ["dataset", "render", str(tmp_path / "spec.toml"), "-o", str(tmp_path / "data")])
    assert done.exit_code == 0, done.output
    done = command("train", tmp_path / "data", "-o", tmp_path / "m", "--bins", 20, "--hidden", 20, "--epochs", 1)
    assert done.exit_code == 0, done.output
    assert "give --bank" in command("generate", tmp_path / "m", "-o", tmp_path / "a.wav").output
    (tmp_path / "bank.syx").write_bytes(b"".join(factory_bank().encode("jx8p")))
    done = command(
        "generate", tmp_path / "m", "-o", tmp_path / "a.wav", "--bank", tmp_path / "bank.syx", "--seconds", 0.5
    )
    assert done.exit_code == 0, done.output
    assert soundfile.info(tmp_path / "a.wav").duration == pytest.approx(0.5, abs=0.03)


def test_a_stretched_sound_keeps_only_the_bins_that_are_asked_for(tmp_path):
    soundfile.write(tmp_path / "a.wav", sine(440) + 0.4 * sine(6_000), RATE)
    done = command("stretch", tmp_path / "a.wav", "-o", tmp_path / "b.wav", "--factor", 1.5, "--bins", 100)
    assert done.exit_code == 0, done.output
    sound = soundfile.read(tmp_path / "b.wav")[0]
    spectrum = np.abs(np.fft.rfft(sound * np.hanning(len(sound))))
    high, low = (spectrum[round(hertz * len(sound) / RATE) - 20 :][:40].max() for hertz in (6_000, 440))
    assert high < 1e-3 * low
    assert command("stretch", tmp_path / "a.wav", "-o", tmp_path / "c.wav", "--bins", 5000).exit_code == 2


def test_the_commands_say_what_is_wrong_in_a_sentence(tmp_path, small):
    soundfile.write(tmp_path / "a.wav", sine(440, 0.5), 22_050)
    small.save(tmp_path / "m")
    for words, said in (
        (["train", tmp_path / "a.wav", "-o", tmp_path / "x", "--window", 510], "divided by 4"),
        (["train", tmp_path / "a.wav", "-o", tmp_path / "x", "--bins", 900], "has 257 bins"),
        (["generate", tmp_path, "-o", tmp_path / "x.wav"], "holds no follower"),
        (["generate", tmp_path / "m", "-o", tmp_path / "x.wav", "--temperature", "hot"], "no temperature"),
        (["generate", tmp_path / "m", "-o", tmp_path / "x.wav", "--reset", tmp_path / "a.wav"], "22050 Hz"),
    ):
        done = command(*words)
        assert done.exit_code == 2, done.output
        assert said in done.output
        assert done.output.count("\n") <= 3
