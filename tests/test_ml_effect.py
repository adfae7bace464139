"""Effects from pairs of sounds: streams equal to files, fits that are exact, networks that learn, files that others play."""

import json

import numpy as np
import pytest
import soundfile
from typer.testing import CliRunner

from jxemu.app.cli import app
from jxemu.render import taps

torch = pytest.importorskip("torch")

from jxemu.ml import effect  # noqa: E402 - what they need was looked for first
from jxemu.ml.train import Schedule  # noqa: E402

RATE = 48_000
TRAINED = [name for name, kind in effect.KINDS.items() if kind.schedule]


@pytest.fixture(scope="module")
def dry():
    return taps.material(3.0, RATE, 1)


def pair(dry, name):
    from jxemu import Circuit

    made = taps.TAPS[name](dry, RATE, 1, Circuit())
    return effect.Pair(made.dry, made.wet, RATE, made.controls)


def drawn(kind, controls=0, outputs=1):
    """A network with weights that do something."""
    torch.manual_seed(3)
    controls = 1 if kind == "delay" else controls
    network = effect.KINDS[kind].make(controls, outputs)
    if kind == "delay":
        network.delay[:, 0], network.delay[:, 1] = 80.0, 150.0
        network.dry.normal_(0, 0.1)
        network.wet.normal_(0, 0.1)
    if kind == "fir":
        network.taps.normal_(0, 0.1)
    if kind == "iir":
        network.b.normal_()
        network.a[:, 0], network.a[:, 1], network.a[:, 2] = 1.0, -1.2, 0.5
    return effect.Model(kind, RATE, controls, outputs, network.eval(), {})


def course(model, sound):
    """Controls that move, where it has some."""
    return np.abs(np.sin(np.arange(len(sound)) / 9_000))[:, None] if model.controls else None


# --- what goes in --------------------------------------------------------------------------------


def test_the_dry_sound_is_the_same_for_a_seed_and_another_for_another():
    first, again, other = (taps.material(2.0, RATE, seed) for seed in (1, 1, 2))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)
    assert len(first) == 2 * RATE
    assert 0.01 < np.abs(first).max() <= taps.PEAK


@pytest.mark.parametrize("name", taps.TAPS)
def test_every_circuit_gives_a_pair_that_can_be_learned_from(name, dry):
    found = pair(dry, name)
    assert np.isfinite(found.wet).all()
    assert found.controls.shape[1] == (name in ("vcf-moving", "vca") or name.startswith("chorus"))
    assert found.wet.shape[1] == 1 + name.startswith("chorus")
    assert not np.allclose(found.wet[:, 0], found.dry, atol=1e-3)


# --- streams -------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", effect.KINDS)
def test_blocks_of_any_size_give_the_same_sound(kind, dry):
    model = drawn(kind)
    sound = dry[:12_000]
    whole, small, odd = (model.apply(sound, course(model, sound), block) for block in (4096, 64, 777))
    assert whole.shape == (len(sound), 1)
    assert np.abs(whole).max() > 1e-3
    for other in (small, odd):
        assert np.abs(other - whole).max() < 1e-6 * max(1.0, np.abs(whole).max())


@pytest.mark.parametrize("kind", effect.KINDS)
def test_a_window_gives_what_the_stream_gives_there(kind, dry):
    model = drawn(kind)
    past, future = model.network.past, model.network.future
    sound = dry[:20_000]
    controls = course(model, sound)
    whole = model.apply(sound, controls)
    rows = torch.from_numpy(np.stack([sound, *([controls[:, 0]] if controls is not None else [])]).astype(np.float32))
    begin = -(-past // 512) * 512 + 2048
    with torch.no_grad():
        window = rows[None, :, begin - 4 * 512 * -(-past // 2048) : begin + 2048 + future]
        made = model.network(window)[0, :, -2048 - future :][:, :2048]
    if kind in ("iir", "lstm", "ssm"):  # they remember all that was: the window has only its warm-up
        assert np.abs(made.numpy().T - whole[begin : begin + 2048]).max() < 0.02 * np.abs(whole).max()
    else:
        assert np.abs(made.numpy().T - whole[begin : begin + 2048]).max() < 1e-5


@pytest.mark.parametrize("kind", TRAINED)
def test_controls_and_stereo_reach_every_network(kind, dry):
    model = drawn(kind, controls=2, outputs=2)
    if kind == "conv":
        torch.nn.init.normal_(model.network.middle.weight)
    controls = np.zeros((8_000, 2), np.float32)
    still = model.apply(dry[:8_000], controls)
    controls[4_000:, 1] = 1.0
    moved = model.apply(dry[:8_000], controls)
    assert moved.shape == (8_000, 2)
    assert np.allclose(moved[:2_000], still[:2_000], atol=1e-6)
    assert kind == "conv-plain" or np.abs(moved[6_000:] - still[6_000:]).max() > 1e-5


# --- learning ------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["fir", "iir"])
def test_a_linear_fit_finds_a_linear_circuit(kind, tmp_path):
    dry = taps.material(5.0, RATE, 1)  # so long that there is a sweep and noise in it
    model = effect.train(kind, pair(dry, "lowpass"), tmp_path)
    assert model.card["validation"]["ESR"] < 1e-4
    other = pair(taps.material(2.0, RATE, 9), "lowpass")
    assert model.errors(other)["ESR"] < 1e-4


@pytest.mark.parametrize(
    ("kind", "rate", "epochs"),
    [("linear", 1e-3, 4), ("conv-untied", 4e-3, 4), ("tcn-nano", 2e-2, 5), ("lstm", 1e-2, 4), ("ssm", 2e-2, 3)],
)
def test_a_network_learns_and_a_saved_one_sounds_the_same(kind, rate, epochs, dry, tmp_path):
    model = effect.train(kind, pair(dry[: 2 * RATE], "hpf-2"), tmp_path, Schedule(epochs, 4, rate, 0.0))
    losses = [epoch["loss"] for epoch in model.card["curve"]]
    assert losses[-1] < 0.9 * losses[0]
    loaded = effect.Model.load(tmp_path)
    assert np.array_equal(loaded.apply(dry[:6_000]), model.apply(dry[:6_000]))


def test_a_delay_that_a_control_moves_is_found(tmp_path):
    data = pair(taps.material(4.0, RATE, 1), "chorus-2")
    model = effect.train("delay", data, tmp_path)
    lines = model.network.delay.numpy()
    shortest, longest = (each * RATE for each in (0.00155, 0.0052))
    assert lines[0, :2] == pytest.approx([shortest, longest - shortest], abs=4)
    assert lines[1, :2] == pytest.approx([longest, shortest - longest], abs=4)
    assert model.card["training"]["ESR"] < 0.1
    with pytest.raises(effect.EffectError, match="one control track"):
        effect.train("delay", pair(data.dry, "hpf-2"), tmp_path)


def test_an_lstm_comes_nearer_to_a_driven_filter_than_any_linear_fit_does(dry, tmp_path):
    data = pair(taps.material(4.0, RATE, 1), "vca")
    linear = effect.train("fir", data, tmp_path / "fir").card["validation"]["ESR"]
    schedule = Schedule(12, 8, 8e-3, 0.0)
    found = effect.train("lstm", data, tmp_path / "lstm", schedule).card["validation"]["ESR"]
    assert found < 0.5 * linear


def test_filters_of_one_effect_serve_another(dry, tmp_path):
    schedule = Schedule(2, 8, 2e-3, 0.0)
    first = effect.train("conv", pair(dry, "lowpass"), tmp_path / "a", schedule)
    second = effect.train("conv", pair(dry, "hpf-2"), tmp_path / "b", schedule, reuse=first)
    assert torch.equal(second.network.analysis, first.network.analysis)
    assert not torch.equal(second.network.scale, first.network.scale)
    with pytest.raises(effect.EffectError, match="nothing else"):
        effect.train("lstm", pair(dry, "hpf-2"), tmp_path / "c", schedule, reuse=first)


def test_a_training_goes_on_only_with_the_same_sounds_and_controls(dry, tmp_path, monkeypatch):
    monkeypatch.setattr("jxemu.ml.train.SAVE_EVERY", 0.0)
    schedule = Schedule(2, 8, 1e-3, 0.0)
    plain = effect.Pair(dry[:80_000], dry[:80_000, None], RATE)

    def stop(done, steps, loss):
        if done > steps // 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        effect.train("lstm", plain, tmp_path, schedule, shown=stop)
    assert (tmp_path / "checkpoint.pt").exists()
    moved = effect.Pair(plain.dry, plain.wet, RATE, np.ones((80_000, 1), np.float32))
    model = effect.train("lstm", moved, tmp_path, schedule)  # another training: from its beginning
    assert model.controls == 1
    assert len(model.card["curve"]) == 2


def test_what_cannot_be_learned_from_is_said(dry, tmp_path):
    with pytest.raises(effect.EffectError, match="as long"):
        effect.Pair(dry, dry[:-1, None], RATE)
    late = np.where(np.arange(len(dry)) < 0.75 * len(dry), dry, 0)
    for sound, wet, said in (
        (dry, 0 * dry, "silent: there is nothing"), (dry, late, "the last 25%"),
        (dry[:40_000], dry[:40_000], f"{65_536 / RATE:.2f} s are the least"),
    ):  # fmt: skip
        with pytest.raises(effect.EffectError, match=said):
            effect.train("fir", effect.Pair(sound, wet[:, None], RATE), tmp_path)
    with pytest.raises(effect.EffectError, match="0 control tracks"):
        drawn("lstm").apply(dry[:100], np.zeros((100, 1)))


def test_silence_before_what_is_learned_is_no_trouble(dry, tmp_path):
    sound = np.concatenate([np.zeros(len(dry)), dry])
    assert effect.train("fir", effect.Pair(sound, sound[:, None], RATE), tmp_path).card["validation"]["ESR"] < 1e-3


def test_no_sound_becomes_no_sound():
    assert drawn("lstm").apply(np.zeros(0)).shape == (0, 1)


def test_grades_are_nams():
    assert [effect.grade(esr) for esr in (0.005, 0.02, 0.05, 0.2, 0.5)] == [
        "great", "not bad", "maybe fine", "probably not good", "something is wrong",
    ]  # fmt: skip


# --- NAM files -----------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["lstm", *(f"tcn-{size}" for size in effect.SIZES)])
def test_a_nam_file_gives_the_same_sound(kind, dry, tmp_path):
    model, path = drawn(kind), tmp_path / "a.nam"
    effect.write_nam(model, path)
    again = effect.Model.load(path)
    assert (again.kind, again.rate) == (kind, RATE)
    assert np.abs(again.apply(dry[:6_000]) - model.apply(dry[:6_000])).max() < 1e-5


def test_a_nam_networks_sound_is_that_of_the_definition(tmp_path):
    """The smallest network once more, sample by sample from the file's own numbers."""
    path = tmp_path / "a.nam"
    model = drawn("tcn-nano")
    effect.write_nam(model, path)
    facts = json.loads(path.read_text())
    weights, at = np.array(facts["weights"]), 0

    def take(*shape):
        nonlocal at
        at += int(np.prod(shape))
        return weights[at - int(np.prod(shape)) : at].reshape(shape)

    sound = 0.5 * np.random.default_rng(0).standard_normal(3_000)
    x, head = sound[None], 0.0
    for layer in facts["config"]["layers"]:
        size = layer["channels"]
        x = take(size, layer["input_size"]) @ x
        for dilation in layer["dilations"]:
            conv, bias, mixer = take(2 * size, size, 3), take(2 * size, 1), take(2 * size, 1)
            out, off = take(size, size), take(size, 1)
            back = [np.pad(x, ((0, 0), (dilation * k, 0)))[:, : x.shape[1]] for k in (2, 1, 0)]
            z = sum(conv[:, :, k] @ each for k, each in enumerate(back)) + bias + mixer @ sound[None]
            skip = np.tanh(z[:size]) / (1 + np.exp(-z[size:]))
            head, x = head + skip, x + out @ skip + off
        head = take(layer["head_size"], size) @ head
        if layer["head_bias"]:
            head = head + take(layer["head_size"], 1)
    assert at == len(weights) - 1
    assert np.abs(head[0] * weights[-1] - model.apply(sound)[:, 0]).max() < 1e-5


def test_what_is_no_nam_file_or_cannot_be_one_is_said(tmp_path):
    with pytest.raises(effect.EffectError, match="mono tcn or lstm"):
        effect.write_nam(drawn("ssm"), tmp_path / "a.nam")
    with pytest.raises(effect.EffectError, match="mono tcn or lstm"):
        effect.write_nam(drawn("lstm", controls=1), tmp_path / "a.nam")
    effect.write_nam(drawn("lstm"), tmp_path / "a.nam")
    facts = json.loads((tmp_path / "a.nam").read_text())
    (tmp_path / "cut.nam").write_text(json.dumps(facts | {"weights": facts["weights"][:-3]}))
    (tmp_path / "none.nam").write_text("{}")
    for name, said in (("cut", "weights where"), ("none", "no .nam file"), ("missing", "cannot read")):
        with pytest.raises(effect.EffectError, match=said):
            effect.Model.load(tmp_path / f"{name}.nam")


# --- the commands --------------------------------------------------------------------------------


def command(*words):
    return CliRunner().invoke(app, ["ml", "effect", *map(str, words)])


def test_the_commands_tap_train_apply_and_export(tmp_path):
    done = command("tap", "vcf-moving", "-o", tmp_path / "tap", "--seconds", 2)
    assert done.exit_code == 0, done.output
    files = [tmp_path / "tap" / f"{name}.wav" for name in ("dry", "wet", "control")]
    done = command("train", *files[:2], "--control", files[2], "-o", tmp_path / "m", "--model", "lstm", "--epochs", 1)
    assert done.exit_code == 0, done.output
    assert "| validation |" in (tmp_path / "m/README.md").read_text()
    assert (tmp_path / "m/effect.png").exists()
    out = tmp_path / "out.wav"
    done = command("apply", tmp_path / "m", files[0], "-o", out, "--control", files[2], "--beside", files[1])
    assert done.exit_code == 0, done.output
    assert "error to signal ratio" in done.output
    assert len(soundfile.read(out)[0]) == len(soundfile.read(files[0])[0])
    done = command("train", *files[:2], "-o", tmp_path / "n", "--model", "tcn-nano", "--epochs", 1)
    assert done.exit_code == 0, done.output
    assert command("export", tmp_path / "n", "-o", tmp_path / "n.nam").exit_code == 0
    assert command("apply", tmp_path / "n.nam", files[0], "-o", out).exit_code == 0


def test_all_pairs_of_a_folder_are_learned_together(tmp_path):
    for sound, seed in (("one", 1), ("two", 2)):
        done = command("tap", "hpf-2", "-o", tmp_path / "taps", "--seconds", 2, "--seed", seed, "--sound", sound)
        assert done.exit_code == 0, done.output
    assert (tmp_path / "taps/hpf-2 - pre - one.wav").exists()
    done = command("train", tmp_path / "taps", "-o", tmp_path / "m", "--model", "iir")
    assert done.exit_code == 0, done.output
    model = effect.Model.load(tmp_path / "m")
    assert model.card["seconds"] == pytest.approx(4.5)
    assert model.card["validation"]["ESR"] < 1e-6
    assert "hpf-2: one, two" in (tmp_path / "m/README.md").read_text()
    command("tap", "vca", "-o", tmp_path / "taps", "--seconds", 1, "--sound", "one")
    (tmp_path / "taps/hpf-2 - post - two.wav").unlink()
    (tmp_path / "none").mkdir()
    for words, said in (
        ([tmp_path / "taps"], "choose one with --effect"),
        ([tmp_path / "taps", "--effect", "hpf-2"], "no hpf-2 - post - two.wav"),
        ([tmp_path / "none"], "no files named"),
        ([tmp_path / "taps/hpf-2 - pre - one.wav"], "a folder of pairs"),
        ([tmp_path / "taps", tmp_path / "taps/hpf-2 - post - one.wav"], "leave WET out"),
        ([*2 * [tmp_path / "taps/hpf-2 - pre - one.wav"], "--effect", "hpf-2"], "leave --effect out"),
    ):
        done = command("train", *words, "-o", tmp_path / "n")
        assert done.exit_code == 2
        assert said in done.output.replace("\n", " ")


def test_pairs_of_a_folder_bring_their_controls(tmp_path):
    for sound, seed in (("one", 1), ("two", 2)):
        command("tap", "vca", "-o", tmp_path / "taps", "--seconds", 1, "--seed", seed, "--sound", sound)
    assert (tmp_path / "taps/vca - control - two.wav").exists()
    done = command("train", tmp_path / "taps", "-o", tmp_path / "m", "--model", "lstm", "--epochs", 1)
    assert done.exit_code == 0, done.output
    assert effect.Model.load(tmp_path / "m").controls == 1


def test_filters_are_taken_over_and_blocks_chosen_by_command(tmp_path):
    for circuit in ("lowpass", "hpf-2"):
        command("tap", circuit, "-o", tmp_path / circuit, "--seconds", 2)
    pairs = {
        circuit: [tmp_path / circuit / f"{name}.wav" for name in ("dry", "wet")] for circuit in ("lowpass", "hpf-2")
    }
    command("train", *pairs["lowpass"], "-o", tmp_path / "first", "--model", "conv", "--epochs", 1)
    done = command(
        "train",
        *pairs["hpf-2"],
        "-o",
        tmp_path / "second",
        "--model",
        "conv",
        "--epochs",
        1,
        "--reuse",
        tmp_path / "first",
    )
    assert done.exit_code == 0, done.output
    before, after = (effect.Model.load(tmp_path / name).network.analysis for name in ("first", "second"))
    assert torch.equal(before, after)
    for size in (64, 4096):
        out = tmp_path / f"{size}.wav"
        assert command("apply", tmp_path / "second", pairs["hpf-2"][0], "-o", out, "--block", size).exit_code == 0
    first, second = (soundfile.read(tmp_path / f"{size}.wav")[0] for size in (64, 4096))
    assert np.abs(first - second).max() < 1e-6


def test_the_commands_say_what_is_wrong_in_a_sentence(dry, tmp_path):
    soundfile.write(tmp_path / "a.wav", dry, RATE)
    soundfile.write(tmp_path / "b.wav", dry, 44_100)
    soundfile.write(tmp_path / "short.wav", dry[:-5], RATE)
    for words, said in (
        (["train", tmp_path / "a.wav", tmp_path / "b.wav", "-o", tmp_path / "m"], "44100"),
        (["train", tmp_path / "a.wav", tmp_path / "short.wav", "-o", tmp_path / "m"], "as long"),
        (["train", tmp_path / "a.wav", tmp_path / "none.wav", "-o", tmp_path / "m"], "none.wav"),
        (["apply", tmp_path, tmp_path / "a.wav", "-o", tmp_path / "x.wav"], "holds no effect"),
        (["export", tmp_path, "-o", tmp_path / "x.txt"], "must end in .nam"),
    ):
        done = command(*words)
        assert done.exit_code == 2, done.output
        assert said in done.output
        assert done.output.count("\n") <= 3


def test_the_choices_of_the_command_are_those_of_the_library():
    from jxemu.app.effect import Kind, TapName

    assert {kind.value for kind in Kind} == set(effect.KINDS)
    assert {name.value for name in TapName} == set(taps.TAPS)
