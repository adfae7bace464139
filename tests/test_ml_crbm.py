"""The CRBM and its poles: arithmetic that is exact, edits that do what they say, and a machine that beats linear prediction."""

import numpy as np
import pytest
import soundfile
from typer.testing import CliRunner

from jxemu.app.cli import app

torch = pytest.importorskip("torch")

from jxemu.ml import crbm, machines, resynthesis  # noqa: E402 - what they need was looked for first
from jxemu.ml.poles import Poles, burg, covariance, predicted, response  # noqa: E402
from jxemu.ml.train import Schedule  # noqa: E402

RATE = 44_100
QUICK = Schedule(epochs=8, batch=1000, rate=2e-3, decay=0.0)


def drawn(rng, order, most=1.2):
    pairs = order // 2 - 1
    found = rng.uniform(0.3, most, pairs) * np.exp(1j * rng.uniform(0.02, np.pi - 0.02, pairs))
    return Poles(np.sort(rng.uniform(-most, most, order - 2 * pairs)), found)


def tuned(hertz, decay, seconds=0.5):
    at = np.arange(round(seconds * RATE)) / RATE
    return np.sin(2 * np.pi * hertz * at) * np.exp(-decay * at)


# --- poles ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(("order", "most"), [(2, 1e-12), (10, 1e-10), (50, 1e-6), (100, 1e-3)])
def test_polynomials_become_poles_and_polynomials_again(order, most):
    rng = np.random.default_rng(order)
    for _ in range(20):
        first = drawn(rng, order).polynomial
        again = Poles.of_polynomial(first)
        assert again.order == order
        assert np.abs(again.polynomial - first).max() < most * np.abs(first).max()


def test_a_zero_at_the_end_of_a_polynomial_is_a_pole_at_zero():
    assert Poles.of(np.array([0.5, 0.0, 0.0])).order == 3
    assert np.allclose(Poles.of(np.array([0.5, 0.0, 0.0])).coefficients, [0.5, 0, 0])


def test_a_polynomial_of_nonsense_is_refused():
    with pytest.raises(ValueError, match="finite"):
        Poles.of(np.array([np.nan, 1.0]))


def test_a_clamp_leaves_no_pole_outside():
    found = drawn(np.random.default_rng(1), 40).clamped(0.01)
    assert np.abs(found.all).max() <= 0.99 + 1e-12
    assert found.stable


@pytest.mark.parametrize(("edit", "wanted"), [("rotated", 520.0), ("pitched", 660.0)])
def test_a_turn_moves_a_tone_as_far_as_it_says(edit, wanted):
    coefficients = burg(tuned(440, 30), 2)
    found = Poles.of(coefficients)
    moved = found.rotated(80.0, RATE) if edit == "rotated" else found.pitched(1.5)
    rung = np.zeros(RATE)
    rung[0] = 1.0
    for n in range(1, len(rung)):
        rung[n] = moved.coefficients @ rung[n - 1 :: -1][:2] if n > 1 else moved.coefficients[0] * rung[0]
    size = 1 << 18
    peak = np.argmax(np.abs(np.fft.rfft(rung * np.hanning(len(rung)), size))) * RATE / size
    assert peak == pytest.approx(wanted, rel=0.01)


def test_scaling_and_pulling_change_how_long_a_tone_lasts():
    found = Poles.of(burg(tuned(440, 30), 2))
    assert np.abs(found.scaled(0.99).pairs[0]) == pytest.approx(0.99 * np.abs(found.pairs[0]))
    nearer = found.pulled(0.5).pairs[0]
    assert 1 - np.abs(nearer) == pytest.approx((1 - np.abs(found.pairs[0])) / 2)


def test_edited_poles_give_real_coefficients_and_leave_real_poles():
    found = drawn(np.random.default_rng(3), 21)
    moved = found.rotated(500, RATE).scaled(0.9)
    assert np.array_equal(moved.real, found.real)
    assert 0 <= moved.imaginary < 1e-9
    assert Poles(np.zeros(0), np.array([0.5 + 0.5j])).imaginary == 0


def test_one_pair_is_moved_by_number():
    found = drawn(np.random.default_rng(4), 12)
    assert found.moved(2, 0.5 - 0.5j).pairs[2] == 0.5 + 0.5j
    with pytest.raises(ValueError, match="no pair 9"):
        found.moved(9, 0j)


def test_burg_and_covariance_find_a_tones_poles_and_burg_is_stable():
    sound = tuned(1_000, 40) + tuned(3_000, 60) + 1e-6 * np.random.default_rng(0).standard_normal(RATE // 2)
    found = Poles.of(burg(sound, 4))
    assert found.stable
    assert np.angle(found.pairs) * RATE / (2 * np.pi) == pytest.approx([1_000, 3_000], rel=0.01)
    past = crbm.contexts(sound, crbm.contiguous(4), np.arange(4, len(sound)))
    assert covariance(past, sound[4:]) == pytest.approx(burg(sound, 4), abs=0.02)
    assert np.argmax(response(burg(sound, 4), np.arange(500, 5_000, 10.0), RATE)) in range(45, 56)


# --- ranges and the past -------------------------------------------------------------------------


def test_ranges_go_there_and_back():
    sound = tuned(300, 3) * 0.7 + 0.1
    scale = crbm.Range.of(sound)
    assert scale.plain(scale.standard(sound)) == pytest.approx(sound, abs=1e-15)
    assert scale.standard(sound).std() == pytest.approx(1.0)
    with pytest.raises(crbm.CrbmError, match="silent"):
        crbm.Range.of(np.zeros(100))


@pytest.mark.parametrize("window", [0.6, 0.8, 0.9])
def test_the_soft_clip_is_straight_then_bent_without_a_corner(window):
    inside = np.linspace(-window, window, 50)
    assert np.array_equal(crbm.soft_clip(inside, window), inside)
    step = 1e-7
    left, right = (
        (crbm.soft_clip(window + x + step, window) - crbm.soft_clip(window + x, window)) / step for x in (-step, 0)
    )
    assert abs(left - right) < 1e-6
    assert crbm.soft_clip(np.array([-1e9, 1e9]), window) == pytest.approx([-1, 1])
    assert (np.diff(crbm.soft_clip(np.linspace(-3, 3, 1000), window)) >= 0).all()


def test_bins_of_the_past_are_means_one_behind_another():
    sound = np.random.default_rng(0).standard_normal(100)
    sizes = crbm.multiscale(4)
    assert sizes == (1, 2, 4, 8)
    row = crbm.contexts(sound, sizes, np.array([60]))[0]
    assert row == pytest.approx([sound[59], sound[57:59].mean(), sound[53:57].mean(), sound[45:53].mean()])


def test_running_bins_equal_means_after_a_million_samples():
    rng = np.random.default_rng(0)
    settings = crbm.Settings(RATE, 1, crbm.multiscale(8, 1.7))
    span = sum(settings.sizes)
    past = 0.1 * rng.standard_normal(span)
    model = crbm.Model(
        settings, crbm.Range(0.0, 1.0), np.eye(8)[-1] * 0.5 + np.eye(8)[0] * 0.4, np.zeros((8, 1)), np.array([0.1]),
        np.zeros(1), -0.05, 1.0, past,
    )  # fmt: skip
    made, _ = model.generate(1_000_000, seed=1)
    bins = crbm.contexts(made, settings.sizes, np.arange(len(made) - 50, len(made)))
    left = made[-50:] - (bins @ model.a - 0.05)  # what hidden units added: 0 or 0.1
    assert np.minimum(np.abs(left), np.abs(left - 0.1)).max() < 1e-6


# --- the machine ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def percussive():
    return machines.percussive()


@pytest.fixture(scope="module")
def trained(percussive, tmp_path_factory):
    return crbm.train(percussive[:1], crbm.Settings(RATE), tmp_path_factory.mktemp("crbm"), QUICK)


def test_the_energys_slope_is_that_of_the_density():
    machine = crbm.Crbm(3, 4)
    machine.start(torch.Generator().manual_seed(1))
    past = torch.randn(5, 3, dtype=torch.float64)
    _, b = machine.fields(past)
    off = torch.linspace(-8, 8, 4001, dtype=torch.float64)[:, None]
    rows = b[:1].expand(len(off), -1)
    states = torch.cartesian_prod(*[torch.tensor([0.0, 1.0], dtype=torch.float64)] * 4)
    brute = torch.logsumexp(
        -0.5 * off.square() + (rows[:, None] * states).sum(-1) + off * (states @ machine.w.T)[:, 0], 1
    )
    assert torch.allclose(-machine.energy(off, rows), brute)


def test_it_expects_percussive_notes_no_worse_than_linear_prediction(percussive, tmp_path):
    for number, sound in enumerate(percussive):
        model = crbm.train(
            [sound], crbm.Settings(RATE, hidden=50), tmp_path / str(number), Schedule(3, 1000, 2e-3, 0.0)
        )
        seen = model.windows([sound])
        linear = seen.rows()[1] - predicted(seen.sound, burg(seen.sound, 50))
        assert model.error([sound]) <= 1.05 * np.sqrt(np.square(linear).mean()) * model.range.deviation


def test_training_again_gives_the_same_and_a_saved_model_sounds_the_same(trained, percussive, tmp_path):
    again = crbm.train(percussive[:1], crbm.Settings(RATE), tmp_path, QUICK)
    loaded = crbm.Model.load(tmp_path)
    for model in (again, loaded):
        assert np.array_equal(model.generate(2_000, 5)[0], trained.generate(2_000, 5)[0])
    assert not np.array_equal(trained.generate(2_000, 6)[0], trained.generate(2_000, 5)[0])


def test_a_clamped_machine_stays_in_range(trained):
    assert trained.stable
    for seed in range(10):
        made, active = trained.generate(RATE, seed)
        assert np.abs(made).max() <= 1.0
    assert active.shape == (RATE // 64, 200)
    assert 0 < active.mean() < 1


def test_a_machine_that_is_not_stable_leaves_every_range_only_without_the_clip(trained):
    wild = trained.edited(trained.poles.scaled(1.05))
    assert not wild.stable
    with np.errstate(all="ignore"):
        assert not np.abs(wild.generate(RATE, 1, clip=False)[0]).max() <= 10
    assert np.abs(wild.generate(RATE, 1)[0]).max() <= 1.0


def test_hidden_units_can_be_left_out_and_their_poles_moved(trained):
    plain = trained.linear()
    assert np.array_equal(plain.generate(500, 1)[0], plain.generate(500, 2)[0])  # nothing is drawn any more
    assert np.array_equal(plain.total_poles.all, plain.poles.all)
    clamped = trained.edited_hidden(lambda poles: poles.clamped(0.1))
    assert np.abs(clamped.hidden_poles(3).all).max() <= 0.9 + 1e-6


def test_larger_bins_have_no_poles_to_edit(percussive, tmp_path):
    model = crbm.train(
        percussive[:1], crbm.Settings(RATE, 20, crbm.multiscale(6)), tmp_path, Schedule(2, 1000, 2e-3, 0.0)
    )
    with pytest.raises(crbm.CrbmError, match="tie their coefficients"):
        _ = model.poles
    assert np.isfinite(model.generate(5_000)[0]).all()


def test_what_cannot_be_learned_from_is_said(tmp_path):
    for sound, said in ((np.zeros(9_000), "silent"), (tuned(300, 1)[:40], "short|longer")):
        with pytest.raises(ValueError, match=said):
            crbm.train([sound], crbm.Settings(RATE), tmp_path)
    with pytest.raises(crbm.CrbmError, match="past of at least"):
        crbm.Settings(RATE, sizes=())
    (tmp_path / "card.json").write_text("{}")
    with pytest.raises(crbm.CrbmError, match="holds no CRBM"):
        crbm.Model.load(tmp_path)


# --- on spectra ----------------------------------------------------------------------------------


@pytest.mark.parametrize("code", resynthesis.CODES)
def test_every_code_gives_the_sound_back(code):
    sound = 0.1 * np.random.default_rng(0).standard_normal(20_000)
    each = resynthesis.CODES[code]
    rows = each.encode(resynthesis.analysed(sound, 512, 128), 512, 128)
    again = resynthesis.overlapped(each.decode(rows, 512, 128), 512, 128, len(sound))
    inside = slice(512, -512)
    assert np.square(again - sound)[inside].sum() < 1e-9 * np.square(sound)[inside].sum()


def test_the_delta_code_holds_a_sines_frequency():
    rows = resynthesis.CODES["delta"].encode(resynthesis.analysed(tuned(440, 0), 512, 128), 512, 128)
    bins = 440 * 512 / RATE
    near = round(bins)
    assert rows[20:-20, 257 + near] == pytest.approx(2 * np.pi * (bins - near) * 128 / 512, abs=0.01)


@pytest.mark.parametrize("code", resynthesis.CODES)
def test_a_machine_on_spectra_sounds(code, tmp_path):
    sound = 0.5 * tuned(440, 2, 0.6)
    model = crbm.train_fourier([sound], RATE, code, 20, tmp_path, Schedule(4, 64, 1e-4, 0.0))
    made = crbm.Fourier.load(tmp_path).generate(0.4, seed=1)
    assert np.array_equal(made, model.generate(0.4, seed=1))
    assert np.abs(made).max() <= 1.0
    assert np.sqrt(np.square(made).mean()) > 1e-3


@pytest.mark.parametrize("code", resynthesis.CODES)
def test_a_machine_on_spectra_begins_with_the_loudest_frame(code, tmp_path):
    sound = tuned(440, 12)
    model = crbm.train_fourier([sound], RATE, code, 8, tmp_path, Schedule(1, 64, 1e-4, 0.0))
    rows = resynthesis.CODES[code].encode(
        resynthesis.analysed(sound, crbm.FOURIER_WINDOW, crbm.FOURIER_HOP), crbm.FOURIER_WINDOW, crbm.FOURIER_HOP
    )
    first = model.first * model.deviation + model.mean
    assert int(np.argmin(np.abs(rows - first).sum(1))) < 5


def test_a_past_that_reaches_too_far_back_is_refused():
    for order, base in ((64, 2.0), (1000, 4.0)):
        with pytest.raises(crbm.CrbmError, match="lower the order"):
            crbm.multiscale(order, base)


# --- the commands --------------------------------------------------------------------------------


def test_spectra_are_learned_from_folders_of_flac_and_wav_and_refuse_what_is_of_samples(tmp_path):
    folder = tmp_path / "sounds"
    folder.mkdir()
    for name, hertz in (("a.flac", 440), ("B.WAV", 660)):
        soundfile.write(folder / name, 0.5 * tuned(hertz, 2, 0.6), RATE)
    words = "train", folder, "-o", tmp_path / "m", "--fourier", "polar", "--hidden", 4, "--epochs", 1, "--steps", 2
    assert command(*words).exit_code == 0
    refused = command(*words, "--order", 20)
    assert refused.exit_code == 2
    assert "leave --order out" in refused.output


def command(*words):
    return CliRunner().invoke(app, ["ml", "crbm", *map(str, words)])


def test_the_commands_train_list_move_and_sound(percussive, tmp_path):
    folder = tmp_path / "sounds"
    folder.mkdir()
    for number, sound in enumerate(percussive[:2]):
        soundfile.write(folder / f"{number}.wav", sound[:9_000], RATE)
    done = command("train", folder, "-o", tmp_path / "m", "--hidden", 10, "--order", 20, "--epochs", 1)
    assert done.exit_code == 0, done.output
    assert "LPC by Burg, order 20" in (tmp_path / "m/README.md").read_text()
    assert (tmp_path / "m/poles.png").exists()
    listed = command("poles", tmp_path / "m", "--rotate", 100, "-o", tmp_path / "moved")
    assert "20 poles" in listed.output
    before, after = (crbm.Model.load(tmp_path / name).poles for name in ("m", "moved"))
    inner = before.pairs[np.angle(before.pairs) < 2.5]
    assert np.angle(after.pairs)[: len(inner)] == pytest.approx(np.angle(inner) + 2 * np.pi * 100 / RATE, abs=1e-3)
    moved = command("poles", tmp_path / "m", "--move", "0:1500:0.9", "--polynomial", "-o", tmp_path / "one")
    assert "polynomial" in moved.output
    assert 0.9 * np.exp(2j * np.pi * 1500 / RATE) == pytest.approx(
        min(
            crbm.Model.load(tmp_path / "one").poles.pairs,
            key=lambda pole: abs(np.angle(pole) - 2 * np.pi * 1500 / RATE),
        ),
        abs=1e-6,
    )
    assert "20 poles" in command("poles", tmp_path / "m", "--of", "total").output
    assert "20 poles" in command("poles", tmp_path / "m", "--of", "hidden:3").output
    both = command("poles", tmp_path / "m", "--move", "0:7000:0.5", "--move", "1:100:0.4", "-o", tmp_path / "two")
    assert both.exit_code == 0, both.output
    found = crbm.Model.load(tmp_path / "two").poles.pairs
    for hertz, radius in ((7000, 0.5), (100, 0.4)):
        assert np.abs(found - radius * np.exp(2j * np.pi * hertz / RATE)).min() < 1e-6
    stay = crbm.Model.load(tmp_path / "m").poles.pairs[2:]
    assert all(np.abs(found - pole).min() < 1e-6 for pole in stay)
    for words in (["--move", "0:440:nan"], ["--move", "nothing"], ["--of", "hidden:99"], ["--move", "99:440:0.9"]):
        assert command("poles", tmp_path / "m", *words).exit_code == 2
    wide = command("poles", tmp_path / "m", "--scale", 1.5, "--clamp", 0.02, "-o", tmp_path / "wide")
    assert "all inside the unit circle" in wide.output  # the clamp comes at last
    made = command(
        "generate",
        tmp_path / "moved",
        "-o",
        tmp_path / "a.wav",
        "--seconds",
        0.3,
        "--from",
        folder / "0.wav",
        "--pull",
        0.1,
    )
    assert made.exit_code == 0, made.output
    assert len(soundfile.read(tmp_path / "a.wav")[0]) == round(0.3 * RATE)
    assert (tmp_path / "a.png").exists()


def test_without_hidden_units_it_is_linear_prediction_with_poles_to_move(percussive, tmp_path):
    soundfile.write(tmp_path / "a.wav", percussive[0], RATE)
    done = command("train", tmp_path / "a.wav", "-o", tmp_path / "m", "--hidden", 0, "--order", 20, "--no-clamp")
    assert done.exit_code == 0, done.output
    model = crbm.Model.load(tmp_path / "m")
    sound, _ = soundfile.read(tmp_path / "a.wav")
    assert np.allclose(model.a, burg(model.windows([sound]).sound, 20))
    made = command("generate", tmp_path / "m", "--seconds", 0.1, "--rotate", 50, "--clamp", 0.001)
    assert made.exit_code == 0, made.output
    assert np.abs(soundfile.read(tmp_path / "m/generated-001.wav")[0]).max() > 0
    command("generate", tmp_path / "m", "--seconds", 0.1)
    assert (tmp_path / "m/generated-002.wav").exists()
    assert "linear prediction alone" in (tmp_path / "m/README.md").read_text()
    for options, said in ((["--start", "random"], "nothing to train"), (["--fourier", "polar"], "need hidden units"),
                          (["--rate", 0.1, "--steps", 2], "leave --rate, --steps out")):  # fmt: skip
        refused = command("train", tmp_path / "a.wav", "-o", tmp_path / "n", "--hidden", 0, *options)
        assert refused.exit_code == 2
        assert said in refused.output


@pytest.fixture(scope="module")
def commanded(percussive, tmp_path_factory):
    folder = tmp_path_factory.mktemp("commanded")
    soundfile.write(folder / "a.wav", percussive[0][:9_000], RATE)
    done = command("train", folder / "a.wav", "-o", folder / "m", "--hidden", 6, "--order", 20, "--epochs", 1, "--start", "random",
                   "--no-clamp", "--rate", 0.001, "--batch", 500, "--decay", 0.1)  # fmt: skip
    assert done.exit_code == 0, done.output
    assert (folder / "m/sound.png").exists()
    return folder


def test_the_poles_of_one_hidden_unit_are_moved_alone(commanded):
    done = command("poles", commanded / "m", "--of", "hidden:2", "--move", "0:1500:0.9", "-o", commanded / "one")
    assert done.exit_code == 0, done.output
    before, after = (crbm.Model.load(commanded / name) for name in ("m", "one"))
    wanted = 0.9 * np.exp(2j * np.pi * 1500 / RATE)
    assert np.abs(after.hidden_poles(2).pairs - wanted).min() < 1e-6
    assert np.array_equal(after.a, before.a)
    assert np.array_equal(np.delete(after.b, 2, 1), np.delete(before.b, 2, 1))
    assert command("poles", commanded / "m", "--of", "total", "--move", "0:1500:0.9").exit_code == 2


def test_a_polynomial_makes_the_linear_part(commanded):
    wanted = np.convolve(np.poly(0.9 * np.exp(2j * np.pi * np.array([440, -440]) / RATE)).real, np.eye(19)[0])
    (commanded / "p.txt").write_text(" ".join(map(str, wanted)))
    for text in (commanded / "p.txt", ", ".join(map(str, wanted))):
        done = command("poles", commanded / "m", "--from-polynomial", text, "-o", commanded / "made")
        assert done.exit_code == 0, done.output
        assert crbm.Model.load(commanded / "made").poles.polynomial == pytest.approx(wanted, abs=1e-9)
    for text in ("1 -1.8 0.9", "1 x", ""):
        assert command("poles", commanded / "m", "--from-polynomial", text).exit_code == 2


def test_a_polynomial_that_was_listed_goes_in_again(percussive, tmp_path):
    soundfile.write(tmp_path / "a.wav", percussive[0][:9_000], RATE)
    command("train", tmp_path / "a.wav", "-o", tmp_path / "m", "--hidden", 0)
    listed = command("poles", tmp_path / "m", "--polynomial").output.splitlines()[-1]
    done = command("poles", tmp_path / "m", "--from-polynomial", listed, "-o", tmp_path / "n")
    assert done.exit_code == 0, done.output
    before, after = (crbm.Model.load(tmp_path / name).a for name in ("m", "n"))
    assert after == pytest.approx(before, abs=1e-4)


def test_rate_batch_and_decay_of_training_are_told(percussive, tmp_path):
    soundfile.write(tmp_path / "a.wav", percussive[0][:9_000], RATE)
    weights = []
    for options in ([], ["--rate", 0.02], ["--batch", 300], ["--decay", 0.9]):
        command(
            "train", tmp_path / "a.wav", "-o", tmp_path / "m", "--hidden", 6, "--order", 20, "--epochs", 2, *options
        )
        weights.append(crbm.Model.load(tmp_path / "m").w)
    assert not any(np.array_equal(weights[0], other) for other in weights[1:])


def test_a_sound_can_begin_anywhere_and_be_made_without_the_clip_or_hidden_units(commanded):
    made = {}
    for name, options in (
        ("plain", []), ("linear", ["--linear"]), ("early", ["--from", commanded / "a.wav", "--at", 0.01]),
        ("free", ["--scale", 1.2, "--hidden-too", "--no-clip"]),
    ):  # fmt: skip
        path = commanded / f"{name}.wav"
        done = command("generate", commanded / "m", "-o", path, "--seconds", 0.05, *options)
        assert done.exit_code == 0, done.output
        made[name] = soundfile.read(path)[0]
    assert all(not np.array_equal(made["plain"], made[name]) for name in ("linear", "early", "free"))
    told = (commanded / "early.txt").read_text()
    assert "at: 0.01" in told
    assert "hidden units: 6" in told


def test_bins_of_growing_size_are_learned_by_command(commanded):
    done = command(
        "train",
        commanded / "a.wav",
        "-o",
        commanded / "wide",
        "--scales",
        2,
        "--order",
        6,
        "--hidden",
        4,
        "--epochs",
        1,
    )
    assert done.exit_code == 0, done.output
    assert crbm.Model.load(commanded / "wide").settings.sizes == (1, 2, 4, 8, 16, 32)


def test_the_commands_say_what_is_wrong_in_a_sentence(percussive, tmp_path):
    soundfile.write(tmp_path / "a.wav", percussive[0], RATE)
    soundfile.write(tmp_path / "b.wav", percussive[0], 22_050)
    for words, said in (
        (["train", tmp_path / "none.wav", "-o", tmp_path / "m"], "none.wav"),
        (["train", tmp_path / "a.wav", tmp_path / "b.wav", "-o", tmp_path / "m"], "several rates"),
        (["poles", tmp_path], "holds no CRBM"),
        (["generate", tmp_path, "-o", tmp_path / "x.wav"], "holds no CRBM"),
    ):
        done = command(*words)
        assert done.exit_code == 2
        assert said in done.output
        assert done.output.count("\n") <= 3
