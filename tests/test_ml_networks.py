import io
import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn
from typer.testing import CliRunner

from jxemu.app.cli import app
from jxemu.app.ml import Method, Network
from jxemu.machine import CUTOFF_STEPS_PER_SEMITONE, FULL_KEY_FOLLOW, TUNE_SEMITONES
from jxemu.ml import adversarial, bench, listening, models, recordings, searches, train
from jxemu.ml.data import HOLD, Table, table
from jxemu.ml.flow import GUIDANCE, STEPS, TokenVelocity, Velocity
from jxemu.ml.kept import earlier
from jxemu.ml.metrics import swapped
from jxemu.ml.networks import THESIS_NETWORKS, Ear, Level, Local, Pace, alike, lines
from jxemu.ml.recordings import Recorder
from jxemu.ml.retrieval import Index
from jxemu.ml.searches import Searches
from jxemu.ml.space import Space, active, ordered, weights_of
from jxemu.ml.train import Schedule, agrees
from jxemu.ml.weights import as_heard
from jxemu.patch.factory import factory_bank
from jxemu.patch.tone import Tone
from jxemu.render import dataset, engine
from jxemu.render.features import FEATURES, FINE_BANDS
from jxemu.render.items import sounding, values_of
from jxemu.render.spec import NAMES, THESIS, TOPS, read_spec


def drawn(count=50, names=NAMES, seed=0):
    rng = np.random.default_rng(seed)
    tops = TOPS[[NAMES.index(name) for name in names]]
    return torch.from_numpy((np.floor(rng.random((count, len(names))) * (tops + 1)) / tops).astype(np.float32))


def rows(*tones):
    return np.array([list(tone.values().values()) for tone in tones], np.uint8)


@pytest.fixture(scope="module")
def toy(tmp_path_factory):
    path, spec = tmp_path_factory.mktemp("toy") / "toy", read_spec("toy", 128)
    folder = dataset.create(path, spec)
    for number in range(spec.shards):
        dataset.write_shard(path, number)
    engine.write_card(folder, spec)
    dataset.finish(folder, spec)
    return path


@pytest.fixture(scope="module")
def ear(toy):
    return models.train("ear", toy, toy.parent / "ear", Schedule(40, 16, 2e-3, 0.02))


@pytest.fixture(scope="module")
def flow(toy, ear):
    return models.train("flow", toy, toy.parent / "flow", Schedule(3, 64), ear)


# --- parameters ---


def test_tokens_of_a_flow_go_back_to_their_parameters():
    space, p = Space(NAMES), drawn()
    assert torch.allclose(space.untokens(space.tokens(p)), p, atol=1e-6)


def test_certain_outputs_read_as_their_parameters_and_cost_nothing():
    space, p = Space(NAMES), drawn()
    out = space.tokens(p)
    out[:, : len(space.faders)] = p[:, space.faders]
    out[:, len(space.faders) :] *= 50
    assert torch.allclose(space.read(out), p, atol=1e-6)
    assert torch.allclose(space.decided(out), p, atol=1e-6)
    assert space.loss(out, p, torch.ones_like(p)).max() < 1e-6


@pytest.mark.parametrize(("name", "state"), [("dco1_wave", 3), ("vcf_dyn", 2)])
def test_a_switch_is_read_as_a_mean_and_decided_as_the_likeliest_state_or_the_middle_amount(name, state):
    space = Space((name,))
    out = torch.log(torch.tensor([[0.1, 0.2, 0.3, 0.4]]))
    assert space.read(out).item() == pytest.approx((0.2 + 0.6 + 1.2) / 3)
    assert space.decided(out).item() == pytest.approx(state / 3)


def test_the_middle_state_has_the_least_error_under_its_chances():
    space = Space(("env1_key",))
    out = torch.randn(200, 4)
    told = 3 * space.decided(out)
    errors = (torch.arange(4)[:, None] - torch.arange(4)).abs() * out.softmax(1)[:, None]  # items, told, true
    least = errors.sum(2).min(1).values
    assert torch.allclose(errors.sum(2).gather(1, told.round().long())[:, 0], least, atol=1e-6)


def test_values_of_a_tone_go_through_p_and_come_back():
    values = np.rint(drawn().numpy() * TOPS).astype(np.uint8)
    assert np.array_equal(values_of((values / TOPS).astype(np.float32), NAMES, np.zeros(len(NAMES))), values)


@pytest.mark.parametrize(
    ("tone", "idle"),
    [
        (Tone(mix_dco2=0), {"dco2_wave", "dco2_fine", "dco_xmod"}),
        (Tone(vcf_env=0, dco1_env=0, mix_env=0, vca_mode="gate"), {"env1_a", "env2_a", "env1_key", "env2_r"}),
        (Tone(vcf_env=50, vcf_mode="env1", vca_mode="gate"), {"env2_a", "dco_mode"}),
        (Tone(vcf_env=50, vcf_mode="env2", vca_mode="gate"), {"env1_a", "dco_mode"}),
        (Tone(dco1_lfo=0, dco2_lfo=0, vcf_lfo=0), {"lfo_rate", "lfo_wave", "lfo_delay"}),
        (Tone(mix_dco2=90, mix_env=0), {"mix_mode", "mix_dyn"}),
        (Tone(mix_dco2=0, mix_env=90, mix_mode="env1-inverted"), {"dco2_wave", "mix_env", "mix_dyn"}),
    ],
)
def test_what_does_nothing_in_a_tone_is_known(tone, idle):
    busy = dict(zip(NAMES, active(rows(tone))[0], strict=True))
    assert not any(busy[name] for name in idle)
    assert busy["vcf_freq"]
    assert busy["mix_dco1"]


@pytest.mark.parametrize("name", ["dco2_wave", "env1_d", "lfo_rate", "mix_mode"])
def test_what_is_said_to_do_nothing_changes_no_sample(name):
    import jxemu

    tone = Tone(mix_dco2=0, vcf_env=0, vcf_freq=60)
    assert not dict(zip(NAMES, active(rows(tone))[0], strict=True))[name]
    changed = tone.replace(**{name: 0 if tone.values()[name] else 1})
    a, b = (jxemu.render(each, [(60, 100, 0.0, 0.2)], 0.3) for each in (tone, changed))
    assert np.array_equal(a, b)


def test_a_dco_that_only_an_envelope_lets_through_is_heard():
    busy = dict(zip(NAMES, active(rows(Tone(mix_dco2=0, mix_env=90, mix_mode="env1")))[0], strict=True))
    assert all(busy[name] for name in ("dco2_wave", "dco2_tune", "mix_env", "mix_dyn", "env1_d"))


def test_idle_parameters_weigh_less_and_all_columns_have_a_weight():
    weight = weights_of(rows(Tone(mix_dco2=0)), (*NAMES, HOLD))
    assert weight.shape == (1, 45)
    assert weight[0, NAMES.index("dco2_wave")] < 1 == weight[0, -1]


def test_a_symmetric_tone_and_its_twin_are_put_in_one_order():
    tone = Tone(mix_dco1=60, mix_dco2=100, dco1_wave="saw", dco2_wave="square", dco1_tune=64, dco2_tune=80)
    twin = Tone(mix_dco1=100, mix_dco2=60, dco1_wave="square", dco2_wave="saw", dco1_tune=80, dco2_tune=64)
    values = rows(tone, twin)
    p = ordered(values / TOPS, values, NAMES)
    assert np.array_equal(p[0], p[1])
    detuned = rows(tone.replace(dco2_fine=90))
    assert np.array_equal(ordered(detuned / TOPS, detuned, NAMES), detuned / TOPS)


# --- networks ---


@pytest.mark.parametrize("name", THESIS_NETWORKS)
def test_every_network_of_the_thesis_takes_its_spectrogram_and_gives_26_numbers(name):
    network = THESIS_NETWORKS[name]((690, 16), len(THESIS))
    assert network(torch.rand(2, 690, 16)).shape == (2, 26)


def test_bins_of_some_thousandths_are_brought_to_one_level():
    heard = Level(3)(torch.rand(50, 20, 3) * torch.tensor([0.01, 0.001, 0.0005]))
    assert torch.allclose(heard.mean((0, 1)), torch.zeros(3), atol=1e-4)
    assert torch.allclose(heard.std((0, 1)), torch.ones(3), atol=0.01)


def test_a_local_layer_is_a_convolution_where_all_its_weights_are_equal():
    kernel, bias = torch.randn(6, 4), torch.randn(4)
    x = torch.randn(5, 12, 6)
    expected = nn.functional.conv2d(x[:, None], kernel.T.reshape(4, 1, 3, 2), bias)
    for pool in (1, 2):
        local = Local((12, 6), (3, 2), 4, pool)
        local.weight.data[:, :6], local.weight.data[:, 6] = kernel, bias
        pooled = nn.functional.max_pool2d(expected, pool).relu()
        assert torch.allclose(local(x), pooled.permute(0, 2, 3, 1).flatten(1), atol=1e-5)


def test_an_ear_for_recordings_does_not_mind_their_level():
    ear = Ear((1, 52, 96), 40, 10, relative=True).eval()
    x, keys = torch.rand(3, 1, 52, 96) * 60 - 60, torch.full((3, 1, 2), 60 / 127)
    assert torch.allclose(ear(x, keys), ear(x - 12, keys), atol=1e-4)


def test_an_ear_hears_each_take_beside_those_of_its_note_and_of_its_velocity():
    ear = Ear((4, 52, 96), 40, 10).eval()
    levels = torch.zeros(4, 40, 96)
    levels[1], levels[2] = 1.0, 3.0
    keys = torch.tensor([[[36, 40], [36, 115], [60, 40], [60, 115]]])
    beside = [part[:, 0, 0].tolist() for part in ear._from_others(levels, keys)]
    assert beside == [[-2, 2, 6, -6], [-6, 2, 6, -2]]
    x, keys = torch.rand(3, 4, 52, 96), torch.rand(3, 4, 2)
    assert ear(x, keys).shape == (3, 10)


def test_pace_tells_which_take_runs_faster_before_and_after_the_key_is_let_go():
    time = torch.arange(85.0)

    def take(decay, release):
        levels = torch.where(time < 60, (-time / decay).exp(), -(-(time - 60) / release).exp())
        return levels[:, None].expand(85, 96)

    held, let_go = Pace(2, 85, 96, 60, 8).compared(torch.stack([take(8, 2), take(4, 4)])[None])
    faster = [Pace.STEP ** (part[0, 0, -1].argmax() - Pace.SHIFTS) for part in (held, let_go)]
    assert faster == pytest.approx([1 / 2, 2], rel=0.25)


def test_takes_are_compared_at_shifts_either_way():
    first = torch.zeros(1, 1, 64)
    first[..., 20], first[..., 30] = 1.0, -2.0
    found = alike(torch.stack([first, first.roll(5, 2), first.roll(-7, 2)], 1), 16)
    assert (found[0, :, 0].argmax(1) - 16).tolist() == [5, -7, -12]
    assert found.amax(3).flatten().tolist() == pytest.approx([1, 1, 1], abs=0.01)


@pytest.mark.parametrize(("hold", "frames"), [(1.4, 59), (0.001, None), (2.0, None), ({"low": 0.5, "high": 1.0}, None)])
def test_an_ear_knows_when_keys_are_let_go_where_that_is_the_same_for_all(hold, frames):
    keys = read_spec("jx-keys-20k")
    performance = keys.performance.model_dump() | {"hold": hold}
    assert models.held(keys.model_validate(keys.model_dump() | {"performance": performance})) == frames


def test_an_ear_hears_the_same_interval_at_any_key():
    ear = Ear((1, 52, 96), 40, 10)
    levels = torch.full((1, 2, FINE_BANDS), -1.0)
    levels[:, :, 300] = 2.5
    higher = levels.roll(5 * 7, 2)
    note = torch.tensor([50.0])
    assert torch.equal(ear._from_key(levels, note / 127), ear._from_key(higher, (note + 7) / 127))


def test_an_ear_hears_items_as_short_as_they_may_be():
    frames, windows = (FEATURES[name].shape(4096)[0] for name in models.HEARD)
    ear = Ear((1, frames + windows * FINE_BANDS // 96, 96), frames, 10).eval()
    assert ear(torch.randn(2, 1, frames + windows * FINE_BANDS // 96, 96), torch.rand(2, 1, 2)).shape == (2, 10)


def test_lines_tell_a_pattern_wherever_it_lies():
    place = torch.arange(200.0)

    def pattern(every, begin):
        return 0.3 * torch.cos(2 * torch.pi * (place - begin) / every) + 2.0

    there, moved, wider = (lines(pattern(*each)) for each in ((8.0, 0.0), (8.0, 3.0), (10.0, 0.0)))
    assert there.shape == (100,)
    assert torch.allclose(there, moved, atol=0.01)
    assert (there.argmax(), wider.argmax()) == (200 / 8 - 1, 200 / 10 - 1)
    assert lines(torch.full((3, 64), 2.0)).abs().max() < 1e-5


def test_a_recording_is_heard_with_noise_and_colour_in_both_of_its_spectra():
    torch.manual_seed(0)
    x = torch.full((8, 1, 52, 96), -100.0)
    x[:, :, :, 10] = -10.0
    heard = models.recorded(x, 40)
    assert heard.shape == x.shape
    assert ((heard[:, :, :, 10] + 10).abs() < 8).all()
    for part in (heard[:, :, :40, 20:], heard[:, :, 40:, 20:]):
        assert part.min() > -125
        assert -110 < part.mean() < -50


@pytest.mark.parametrize("feature", models.HEARD)
def test_the_noise_of_recordings_is_heard_as_uneven_as_real_noise_is(feature):
    torch.manual_seed(0)
    noise = np.random.default_rng(0).normal(size=120 * models.RECORDED_RATE).astype(np.float32)
    real = torch.from_numpy(FEATURES[feature].of(noise, models.RECORDED_RATE).astype(np.float32))
    lines = models.independent(feature)
    made = models.uneven(torch.Size((len(real), len(lines))), lines)
    apart = [each.std(0).unflatten(0, (-1, 12)).mean(1) for each in (real, made)]
    assert (
        apart[0] / apart[1] - 1
    ).abs().max() < 0.3  # at one or two lines the cube swings too far; at many, below 0.05
    assert abs(apart[0][-1] / apart[1][-1] - 1) < 0.05
    assert apart[0].max() > 3 * apart[0].min()


def test_a_precision_that_gives_garbage_is_found():
    class Wrong(nn.Module):
        def forward(self, x):
            return x * (float("nan") if torch.is_autocast_enabled("cpu") else 1.0)

    def half():
        return torch.autocast("cpu", torch.bfloat16)

    x = torch.randn(4, 4)
    assert not agrees(Wrong(), half, x)
    assert agrees(nn.Linear(4, 4), half, x)


def test_a_network_learns_tones_from_their_sounds(toy, ear):
    learned = table(toy, "train", models.HEARD)
    error = np.square(ear.guess(learned.x, learned.keys).mean - learned.p.numpy()).mean()
    assert error < 0.95 * learned.p.numpy().var(0).mean()  # of the epoch that is best on thirteen others
    losses = [epoch["loss"] for epoch in ear.card["curve"]]
    assert losses[-1] < 0.75 * losses[10]


def test_a_stored_model_gives_the_guesses_of_the_trained_one(toy, ear):
    data = table(toy, "validation", models.HEARD)
    again = models.load(toy.parent / "ear")
    assert np.array_equal(again.guess(data.x, data.keys).mean, ear.guess(data.x, data.keys).mean)
    assert again.card["table"]["all"]["MSE"] == pytest.approx(
        np.square(again.guess(data.x, data.keys).mean - data.p.numpy()).mean(), rel=1e-4
    )


def test_the_same_training_gives_the_same_weights_also_where_it_was_stopped(toy, tmp_path, monkeypatch):
    schedule = Schedule(3, 64)
    whole = models.train("ear", toy, tmp_path / "whole", schedule)
    scores, calls = models.scores, []

    def stopping(*arguments):
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return scores(*arguments)

    monkeypatch.setattr(models, "scores", stopping)
    monkeypatch.setattr(train, "SAVE_EVERY", 0.0)
    with pytest.raises(KeyboardInterrupt):
        models.train("ear", toy, tmp_path / "again", schedule)
    monkeypatch.undo()
    assert (tmp_path / "again/checkpoint.pt").exists()
    again = models.train("ear", toy, tmp_path / "again", schedule)
    assert all(torch.equal(a, b) for a, b in zip(whole.parts.values(), again.parts.values(), strict=True))
    assert [p.name for p in (tmp_path / "again").glob("*.pt")] == []


def test_the_best_epoch_s_weights_are_kept_also_where_a_training_was_stopped(tmp_path, monkeypatch):
    monkeypatch.setattr(train, "SAVE_EVERY", 0.0)
    eight = Table((), torch.zeros(8, 1, 1, 1), torch.zeros(8, 1, 2), torch.zeros(8, 0), np.zeros((8, 44), np.uint8))

    def trained(file, errors):
        torch.manual_seed(0)
        network, left, seen = nn.Linear(1, 1), iter(errors), []

        def check(mean):
            error = next(left)
            seen.append({name: part.clone() for name, part in mean.state_dict().items()})
            return {"error": error}

        def loss(network, places):
            return (network(places[:, None] / 8.0) - 1).square().mean()

        schedule = Schedule(3, 4, 0.1)
        train.fit(network, eight, loss, check, schedule, tmp_path / file, "", best=lambda epoch: epoch.figures["error"])
        return network.state_dict(), seen

    kept, seen = trained("whole.pt", [3.0, 1.0, 2.0])
    assert all(torch.equal(kept[name], seen[1][name]) for name in kept)
    with pytest.raises(StopIteration):
        trained("stopped.pt", [3.0, 1.0])
    again, _ = trained("stopped.pt", [2.0])
    assert all(torch.equal(kept[name], again[name]) for name in kept)


def test_a_network_does_not_go_on_from_the_checkpoint_of_another(tmp_path):
    eight = Table((), torch.zeros(8, 1, 1, 1), torch.zeros(8, 1, 2), torch.zeros(8, 0), np.zeros((8, 44), np.uint8))

    def trained(network):
        def loss(network, places):
            return network(places[:, None] / 8.0).square().mean()

        return train.fit(network, eight, loss, lambda _: {"error": 1.0}, Schedule(1, 4), tmp_path / "c.pt", "the same")

    assert trained(nn.Linear(1, 1)) == trained(nn.Linear(1, 1))
    assert len(trained(nn.Linear(1, 2))) == 1


def test_an_error_is_told_of_the_tones_in_which_its_parameter_does_something(toy):
    values = rows(Tone(mix_dco2=0, mix_env=0), Tone(mix_dco2=90, mix_env=90))
    truth = torch.from_numpy((values / TOPS).astype(np.float32))
    tones = replace(table(toy, "validation", models.HEARD), p=truth, values=values, names=NAMES)
    guess = truth.numpy().copy()
    guess[0] = np.abs(guess[0] - 1)
    found = models.mae_where_heard(tones, guess)
    assert found["dco2_wave"] == 0
    assert found["dco1_wave"] > 0.3
    assert models.mae_where_heard(replace(tones, p=truth[:1], values=values[:1]), guess[:1])["dco2_wave"] is None


def test_a_card_tells_data_seed_curve_and_table(toy, ear):
    card = json.loads((toy.parent / "ear/card.json").read_text())
    assert card["data"]["spec"] == json.loads((toy / "manifest.json").read_text())["spec_sha256"]
    assert card["schedule"]["seed"] == 1
    assert len(card["curve"]) == 40
    assert set(card["table"]) == {"all", *card["names"]}
    assert (toy.parent / "ear/curve.png").stat().st_size > 5000


def test_an_ear_is_that_of_the_epoch_with_the_least_validation_error(toy, ear):
    errors = [epoch["figures"]["MSE"] for epoch in ear.card["curve"]]
    assert min(errors) < errors[-1]  # it has learned the toy by heart
    assert ear.card["table"]["all"]["MSE"] == pytest.approx(min(errors), rel=1e-3)
    assert f"after epoch {errors.index(min(errors)) + 1}," in (toy.parent / "ear/README.md").read_text()


def test_a_training_never_goes_on_from_another_one(toy, tmp_path, monkeypatch):
    monkeypatch.setattr(train, "SAVE_EVERY", 0.0)
    monkeypatch.setattr(models, "write", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        models.train("lstm1", toy, tmp_path / "m", Schedule(1, 64))
    assert (tmp_path / "m/checkpoint.pt").exists()
    monkeypatch.undo()
    again = models.train("lstm1", toy, tmp_path / "m", Schedule(1, 64), limit=50)
    alone = models.train("lstm1", toy, tmp_path / "alone", Schedule(1, 64), limit=50)
    assert again.digest == alone.digest


def test_a_checkpoint_that_is_damaged_is_named_and_not_gone_on_from(toy, tmp_path):
    (tmp_path / "m").mkdir()
    for damaged in (b"", b"PK nonsense"):
        (tmp_path / "m/checkpoint.pt").write_bytes(damaged)
        with pytest.raises(ValueError, match=r"checkpoint.pt is damaged; delete it"):
            models.train("lstm1", toy, tmp_path / "m", Schedule(1, 64))


def test_a_model_is_not_asked_about_sounds_that_it_cannot_hear(toy, ear, tmp_path):
    spec = read_spec("toy")
    models.check_fits(ear, spec, "ear", "toy")
    longer = spec.model_copy(update={"seconds": 1.0})
    with pytest.raises(ValueError, match="trained on other sounds"):
        models.check_fits(ear, longer, "ear", "longer")
    with pytest.raises(ValueError, match="other parameters"):
        models.check_fits(ear, read_spec("match-120k"), "ear", "match")
    lstm = models.train("lstm1", toy, tmp_path / "m", Schedule(1, 64))
    with pytest.raises(ValueError, match="listens with an ear"):
        models.train("flow", toy, tmp_path / "f", Schedule(1, 64), lstm)


def test_the_pitch_that_is_heard_keeps_intervals_and_the_cutoff_s_place():
    values = np.rint(drawn(400, seed=3).numpy() * TOPS).astype(np.uint8)
    found, apart, whole = sounding(values)

    def pitch(rows, n):
        return (
            12 * (rows[:, NAMES.index(f"dco{n}_range")].astype(int) - 1)
            + TUNE_SEMITONES[rows[:, NAMES.index(f"dco{n}_tune")]]
        )

    interval = pitch(values, 2) - pitch(values, 1)
    assert np.array_equal(interval[whole], (pitch(found, 2) - pitch(found, 1))[whole])
    assert 0.4 < whole.mean() < 1
    assert np.array_equal(found[apart == 0], values[apart == 0])
    cutoff, key = NAMES.index("vcf_freq"), NAMES.index("vcf_key")
    there = values[:, cutoff] - found[:, cutoff].astype(float)
    steps = CUTOFF_STEPS_PER_SEMITONE * apart * values[:, key] / FULL_KEY_FOLLOW
    assert np.abs(there - steps)[whole].max() <= 0.5


def test_folders_that_hold_no_model_are_named(tmp_path, toy):
    with pytest.raises(models.ModelError, match="holds no model"):
        models.load(tmp_path)
    whole = models.train("lstm1", toy, tmp_path / "m", Schedule(1, 64))
    assert whole.names == NAMES
    file = tmp_path / "m/weights.safetensors"
    file.write_bytes(file.read_bytes()[:1000])
    with pytest.raises(models.ModelError, match="holds no model"):
        models.load(tmp_path / "m")


def test_a_model_of_another_version_or_another_network_is_told(tmp_path, toy, ear):
    models.write(replace(ear, card=ear.card | {"version": 0}), tmp_path)
    with pytest.raises(models.ModelError, match="a model of version 0; this program reads 1"):
        models.load(tmp_path)
    models.write(replace(ear, network=Ear(ear.card["shape"], ear.network.frames, 3)), tmp_path)
    with pytest.raises(models.ModelError, match="its weights are not those of this version's network"):
        models.load(tmp_path)


# --- a flow ---


@pytest.mark.parametrize("kind", [Velocity, TokenVelocity])
def test_a_flow_learns_a_posterior_with_two_modes(kind):
    torch.manual_seed(0)
    velocity = kind(1, 1, size=64, blocks=2)
    optimiser = torch.optim.Adam(velocity.parameters(), 3e-3)
    for _ in range(300):
        heard = torch.rand(256, 1)
        points = torch.where(torch.rand(256, 1) < 0.5, heard, -heard) + 0.02 * torch.randn(256, 1)
        optimiser.zero_grad()
        velocity.loss(points, heard).backward()
        optimiser.step()
    found = velocity.sample(torch.full((400, 1), 0.8))[:, 0].numpy()
    assert 0.35 < (found > 0).mean() < 0.65
    assert np.abs(np.abs(found) - 0.8).mean() < 0.15


def test_a_flow_gives_many_legal_tones_for_a_sound_the_same_for_the_same_seed(toy, flow):
    data = table(toy, "validation", models.HEARD)
    p = flow.sample(data.x[:2], data.keys[:2], 5, seed=3)
    assert p.shape == (2, 5, 44)
    assert ((p >= 0) & (p <= 1)).all()
    assert np.array_equal(p, flow.sample(data.x[:2], data.keys[:2], 5, seed=3))
    assert not np.array_equal(p[:, 0], p[:, 1])


def test_calibration_passes_samples_of_the_posterior_and_fails_those_that_are_too_narrow(toy):
    data = table(toy, "train", models.HEARD)
    rng = np.random.default_rng(5)
    centre = rng.random((len(data), 1, 44))
    spread = 0.2 * rng.standard_normal((len(data), 65, 44))
    data = replace(data, p=torch.from_numpy((centre + spread)[:, 0].clip(0, 1)))
    right, narrow = ((centre + scale * spread[:, 1:]).clip(0, 1) for scale in (1.0, 0.2))
    assert bench.calibration(data, right, 0)["passed"] > 0.9
    faders = [n for n, name in enumerate(NAMES) if TOPS[n] == 127]
    chances = list(bench.calibration(data, narrow, 0)["p-values"].values())
    assert max(chances[n] for n in faders) < 0.01


def test_twins_are_counted_where_samples_hold_both_readings(toy):
    tone = Tone(mix_dco1=127, mix_dco2=127, dco1_wave="saw", dco2_wave="square", dco2_tune=90)
    data = table(toy, "train", models.HEARD, 2)
    values = rows(tone, tone)
    truth = (values / TOPS).astype(np.float32)
    data = replace(data, p=torch.from_numpy(truth), values=values)
    one, other = truth[:1], swapped(truth[:1], NAMES)
    p = np.stack([np.concatenate([one, other]), np.concatenate([one, one])])
    assert bench.twins(data, p) == {"tones": 2, "both": 0.5}


def test_a_table_hears_what_its_items_hold(toy):
    items, read = dataset.open(toy).split("train"), table(toy, "train", ("mel", "fine"))
    places = torch.tensor([3, 100, 3, 0])
    expected = [np.concatenate([items[int(n)]["mel"].ravel(), items[int(n)]["fine"].ravel()]) for n in places]
    assert np.array_equal(read.x[places].flatten(1).numpy(), np.stack(expected))


def test_a_shard_that_is_cut_off_is_named(toy, tmp_path):
    cut = shutil.copytree(toy, tmp_path / "cut")
    read = table(cut, "train", ("mel",))
    shard = cut / "shards/00000.h5"
    shard.write_bytes(shard.read_bytes()[:2000])
    with pytest.raises(dataset.DatasetError, match=r"00000.h5: features/mel is cut off; render again"):
        read.x[:1]


# --- retrieval, weights ---


def test_an_index_finds_the_nearest_in_their_order():
    known = np.random.default_rng(0).standard_normal((500, 8))
    asked = known[[3, 77]] + 0.001
    far = ((known[None] - asked[:, None]) ** 2).sum(-1).argsort(1)[:, :5]
    assert np.array_equal(Index(known).nearest(asked, 5), far)


def test_a_tone_and_its_key_are_told_as_the_pitch_that_is_heard():
    tone = Tone(dco1_range="4'", dco1_tune=64 + 32, mix_dco1=120, mix_dco2=80, dco2_range="8'", dco2_tune=64)
    values, apart, whole = sounding(rows(tone))
    assert apart[0] == 12 + 7
    assert whole[0]
    found = Tone("", **dict(zip(NAMES, values[0].tolist(), strict=True)))
    assert (found.dco1_range, found.dco1_tune) == (Tone(dco1_range="8'").dco1_range, 64)
    assert found.dco2_range == Tone(dco2_range="16'").dco2_range
    assert TUNE_SEMITONES[found.dco2_tune] == -7


def test_what_can_be_heard_in_a_tone_is_found_by_moving_it(toy):
    whole = dataset.open(toy)
    plain = Tone(mix_dco1=90, mix_dco2=0, vcf_freq=60, vcf_env=0, vca_mode="env2", env2_a=0, env2_s=127)
    swept = plain.replace(vcf_env=100, vcf_mode="env2", vcf_dyn="2")
    soft = min((whole[n].plan for n in range(20)), key=lambda plan: plan.performance[0, 0, 1])
    plans = bench.plans_of_tones(whole.spec, [plain, swept], [soft])
    target = bench.targets_of(whole.spec, plans, bench.rendered(whole.spec, plans))
    names = ("vcf_freq", "dco2_wave", "vcf_dyn", "hold")
    assert bench.audible(whole.spec, target, names).tolist() == [
        [True, False, False, False],
        [True, False, True, False],
    ]


def test_errors_are_told_of_the_targets_in_which_a_parameter_is_heard(toy):
    two = bench._some(table(toy, "test", ["mel"]), np.arange(2))
    guess = two.p.numpy() + np.array([[0.1], [0.3]], np.float32)
    there = np.zeros((2, len(two.names)), bool)
    there[1, 0] = True
    found = bench._heard_rows(two, {"a guess": guess}, there)["parameters"]
    assert found[two.names[0]] == {"heard": 0.5, "MAE": {"a guess": pytest.approx(0.3)}}
    assert found[two.names[1]] == {"heard": 0.0, "MAE": {"a guess": None}}


def test_the_errors_of_key_follow_and_dynamics_are_also_told_as_one(toy):
    data = bench._some(table(toy, "test", ["mel"]), np.arange(2))
    data = replace(data, names=("vcf_key", "vcf_freq", "mix_dyn", "vca_dyn"), p=data.p[:, :4])
    guess = data.p.numpy() + np.array([0.1, 0.5, 0.7, 0.3], np.float32)
    there = np.array([[True, True, False, True], [True, True, False, False]])
    assert bench._heard_rows(data, {"one": guess}, there)["key follow and dynamics"] == {"one": pytest.approx(0.2)}
    there[:, [0, 2, 3]] = False
    assert bench._heard_rows(data, {"one": guess}, there)["key follow and dynamics"] is None


# --- a critic ---


@pytest.mark.parametrize("name", adversarial.METHODS)
def test_a_proposal_moves_towards_the_target(name):
    target = np.array([0.8, 0.25, 0.6])
    start = np.array([0.6, 0.45, 0.6])
    found = adversarial.pursue(adversarial.METHODS[name], target, lambda p: p, start, [0, 1], 60, seed=1)
    begin = start if adversarial.METHODS[name].informed else np.array([0.5, 0.5, 0.6])
    assert np.abs(found.mean - target).sum() < 0.5 * np.abs(begin - target).sum()
    assert found.tried.shape == (60 * adversarial.BATCH, 3)
    assert (found.tried[:, 2] == 0.6).all()


# --- commands ---


def run(*arguments):
    return CliRunner().invoke(app, list(map(str, arguments)))


def test_a_contest_goes_on_where_it_was_stopped(tmp_path, toy, monkeypatch):
    def asked(folder, steps=2):
        return "ml", "adversarial", "avo", toy, "-n", "2", "--steps", str(steps), "-o", tmp_path / folder

    def rows(folder):
        return json.loads((tmp_path / folder / "contest.json").read_text())["targets"]

    assert run(*asked("whole")).exit_code == 0
    pursue, begun = adversarial.pursue, []

    def stopped(*args):
        begun.append(args)
        if len(begun) == 2:
            raise KeyboardInterrupt
        return pursue(*args)

    monkeypatch.setattr(adversarial, "pursue", stopped)
    assert "the same command goes on" in run(*asked("parts")).stderr
    assert rows("parts") == rows("whole")[:1]
    assert run(*asked("parts")).exit_code == 0
    assert rows("parts") == rows("whole")
    assert len(begun) == 3
    assert "another contest (renders)" in run(*asked("parts", steps=1)).stderr
    assert rows("parts") == rows("whole")


def test_searches_of_the_benchmark_go_on_where_they_were_stopped(tmp_path, toy, monkeypatch):
    monkeypatch.chdir(tmp_path)
    begun = []

    def asked(folder, renders=64):
        return "ml", "bench", toy, "--search", renders, "-n", "2", "-o", folder

    whole = run(*asked("whole"))
    assert whole.exit_code == 0, whole.stderr
    assert "| search of 64, at the targets' level |" in whole.stdout
    assert "| mean tone | random tone | nearest of 116 | search of 64 |" in whole.stdout

    def stopped(*args):
        begun.append(1)
        if len(begun) == 2:
            raise KeyboardInterrupt
        return takes(*args)

    takes = searches.takes
    monkeypatch.setattr(searches, "takes", stopped)
    assert "the same command goes on" in run(*asked("parts")).stderr
    assert run(*asked("parts")).exit_code == 0
    assert len(begun) == 3
    rows = [json.loads((tmp_path / folder / searches.JSON).read_text()) for folder in ("whole", "parts")]
    assert rows[0] == rows[1]
    assert "another list of searches (renders)" in run(*asked("parts", 80)).stderr


def test_the_commands_train_compare_and_name_what_is_wrong(tmp_path, toy, monkeypatch):
    monkeypatch.chdir(tmp_path)

    made = run("ml", "train", "ear", toy, "-o", "ear", "--epochs", "2")
    assert made.exit_code == 0, made.stderr
    assert "validation MSE" in made.stdout
    assert run("ml", "train", "flow", toy, "-o", "flow", "--ear", "ear", "--epochs", "2").exit_code == 0
    table = run("ml", "bench", toy, "--model", "ear", "--model", "flow", "-n", "3", "-o", "report")
    assert table.exit_code == 0, table.stderr
    for row in ("mean tone", "random tone", "nearest of", "renderer's floor", "ear", "flow, best of 64"):
        assert f"| {row}" in table.stdout
    assert "| parameter | heard in | mean tone | random tone |" in table.stdout
    assert {p.name for p in (tmp_path / "report").iterdir()} == {
        "bench.json", "bench.md", "parameters.png", "ranks.png", "sounds.png"
    }  # fmt: skip
    contest = run("ml", "adversarial", "enhanced", toy, "--ear", "ear", "-n", "1", "--steps", "2", "-o", "contest")
    assert "| CMA-ES, as many renders |" in contest.stdout, contest.stderr
    assert (tmp_path / "contest/contest.png").stat().st_size > 5000
    assert "give --ear" in run("ml", "adversarial", "enhanced", toy, "-o", "x").stderr
    assert "does not vary" in run("ml", "adversarial", "avo", toy, "--free", "volume", "-o", "x").stderr
    assert "at least two free" in run("ml", "adversarial", "avo", toy, "--free", "vcf_freq", "-o", "x").stderr
    assert "needs --ear" in run("ml", "train", "flow", toy, "-o", "x").stderr
    assert "leave --take out" in run("ml", "train", "flow", toy, "--ear", "ear", "--take", "1", "-o", "x").stderr
    assert "holds no model" in run("ml", "bench", toy, "--model", toy, "-o", "x").stderr
    assert "not a dataset" in run("ml", "train", "ear", tmp_path, "-o", "x").stderr


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """A folder that `jxemu ml weights` wrote."""
    folder = tmp_path_factory.mktemp("home") / "weights"
    made = run("ml", "weights", "--items", "128", "--epochs", "1", "-o", folder)
    assert made.exit_code == 0, made.stderr
    return folder


@pytest.fixture
def studio(tmp_path, monkeypatch):
    """A folder with a recording and a bank, of someone without weights."""
    import soundfile

    import jxemu

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("JXEMU_HOME", str(tmp_path / "home"))
    soundfile.write(tmp_path / "pluck.wav", jxemu.render(jxemu.Tone(vcf_freq=60), [(57, 100, 0.0, 0.2)], 0.3), 48_000)
    (tmp_path / "bank.syx").write_bytes(b"".join(factory_bank().encode("jx8p")))
    return tmp_path


MATCH = "match", "pluck.wav", "-o", "found.syx", "--renders", "64"


def test_weights_that_are_there_are_not_made_again(weights):
    before = {path: path.stat().st_mtime_ns for path in weights.rglob("*.*") if "data" not in path.parts}
    assert run("ml", "weights", "--items", "128", "--epochs", "1", "-o", weights).exit_code == 0
    assert {path: path.stat().st_mtime_ns for path in before} == before


def test_packed_weights_say_what_the_networks_say(weights):
    packed, flow = listening.load(weights), models.load(weights / "flow")
    data = as_heard(table(weights / "data", "validation", models.HEARD, 1))
    x, keys = data.x.float(), data.keys
    said = packed.hears.run(None, {"x": x.numpy(), "keys": keys.numpy()})
    guess = flow.guess(x, keys)
    own = guess.decided, guess.mean, flow.embed(x, keys).numpy()
    assert all(np.allclose(*pair, atol=1e-4) for pair in zip(said, own, strict=True))
    points, at = torch.randn(5, flow.space.width), torch.tensor([0.3])
    moved, p = packed.draws.run(None, {"points": points.numpy(), "heard": said[2], "time": at.numpy()})
    with torch.no_grad():
        expected = flow.velocity.moved(points, torch.from_numpy(said[2]), at, 1 / STEPS, GUIDANCE)
    assert np.allclose(moved, expected.numpy(), atol=1e-4)
    assert np.allclose(p, flow.space.untokens(expected).numpy(), atol=1e-4)


def test_packed_weights_name_tones_the_same_for_the_same_seed(weights):
    sound = np.random.default_rng(0).standard_normal(20_000).astype(np.float32)
    first, again, other = (listening.load(weights).tones(sound, 60, 9, 3, seed) for seed in (1, 1, 2))
    assert len(first) == 1 + 3 + 9
    assert first == again
    assert first[:4] == other[:4]
    assert first[4:] != other[4:]


def test_match_listens_with_weights_where_there_are_some(weights, studio):
    heard = run(*MATCH, "--weights", weights)
    assert heard.exit_code == 0, heard.stderr
    alone = run(*MATCH)
    assert "no trained weights: the search goes alone" in alone.stderr
    assert heard.stdout != alone.stdout
    shutil.copytree(weights, studio / "home/weights", ignore=shutil.ignore_patterns("data", "ear", "flow"))
    found = run(*MATCH)
    assert "weights" not in found.stderr
    assert found.stdout == heard.stdout


def numpy_file():
    """One array where several are expected."""
    whole = io.BytesIO()
    np.save(whole, np.zeros(3))
    return whole.getvalue()


@pytest.mark.parametrize(
    ("name", "data", "why"),
    [
        ("known.npz", b"broken", "known.npz"),
        ("known.npz", numpy_file(), "known.npz"),
        ("draws.onnx", b"of another training", "not of one training"),
        ("hears.onnx", None, "hears.onnx: No such file"),
    ],
)
def test_weights_that_cannot_be_used_are_said(weights, studio, name, data, why):
    folder = studio / "home/weights"
    shutil.copytree(weights, folder, ignore=shutil.ignore_patterns("data", "ear", "flow"))
    (folder / name).unlink()
    if data:
        (folder / name).write_bytes(data)
    asked_for = run(*MATCH, "--weights", folder)
    assert asked_for.exit_code == 2
    assert why in asked_for.stderr
    alone = run(*MATCH)
    assert alone.exit_code == 0
    assert "trained weights are not used" in alone.stderr


def test_match_is_judged_with_and_without_weights(weights, studio):
    judged = run("ml", "judge", "bank.syx", "-o", "judged", "-n", "2", "--renders", "64", "--weights", weights)
    assert judged.exit_code == 0, judged.stderr
    table = json.loads((studio / "judged/table.json").read_text())
    assert list(table) == [recordings.GUESS, recordings.DRAWN, recordings.LISTENED, recordings.ALONE]
    assert table[recordings.LISTENED]["apart"] <= table[recordings.DRAWN]["apart"]
    rows = json.loads((studio / "judged/recordings.json").read_text())["targets"]
    assert all(each["reloads"] and each["noise"] > 1 for each in rows)
    assert (studio / "judged/recordings.png").exists()
    assert "played to it it is" in judged.stdout
    noisy = ("-n", "1", "--renders", "64", "--noise", "-42", "--rate", "16000")
    alone = run("ml", "judge", "bank.syx", "-o", "alone", *noisy)
    assert alone.exit_code == 0, alone.stderr
    assert "at 16000 Hz with noise at -42 dB" in alone.stdout
    assert list(json.loads((studio / "alone/table.json").read_text())) == [recordings.ALONE]
    other = run("ml", "judge", "bank.syx", "-o", "judged", *noisy)
    assert other.exit_code == 2
    assert "is of another list of recordings" in other.stderr


def test_recordings_that_are_judged_go_on_where_they_were_stopped(tmp_path, monkeypatch):
    tones, own = [Tone(), Tone(vcf_freq=40), Tone(mix_dco1=0, mix_dco2=0, vca_level=0)], recordings.judge
    whole = recordings.judge_all(tones, None, 32, Recorder(), 0, tmp_path / "whole")

    def stopped(tone, *rest):
        if tone == tones[1]:
            raise KeyboardInterrupt
        return own(tone, *rest)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(recordings, "judge", stopped)
        recordings.judge_all(tones, None, 32, Recorder(), 0, tmp_path / "parts")
    seen = []
    found = recordings.judge_all(tones, None, 32, Recorder(), 0, tmp_path / "parts", seen.append)
    assert seen == [1, 2, 3]
    assert [each.found[recordings.ALONE].mss for each in found] == [each.found[recordings.ALONE].mss for each in whole]


@pytest.mark.parametrize(("noise_db", "rate"), [(-60, 48_000), (-30, 48_000), (-50, 8_000)])
def test_a_recording_is_of_another_unit_with_noise_and_silence_before_it(noise_db, rate):
    recorder = Recorder(noise_db, rate)
    sound, played, note = recorder.recording(Tone(), 3)
    assert np.array_equal(sound, recorder.recording(Tone(), 3)[0])
    assert 36 <= note < 78
    assert len(sound) == pytest.approx(len(played) * rate / recordings.PLAYED_RATE, abs=1)
    silence = sound[: rate // 25]
    assert not played[: recordings.PLAYED_RATE // 25].any()
    assert 20 * np.log10(silence.std() / np.abs(sound).max()) == pytest.approx(noise_db, abs=1)


def test_tones_that_cannot_be_heard_are_not_judged():
    assert recordings.judge(Tone(mix_dco1=0, mix_dco2=0, vca_level=0), None, 64) is None


def test_the_commands_offer_what_there_is():
    assert {*Network} == {*THESIS_NETWORKS, models.EAR, *models.FLOWS} == {*models.SCHEDULES}
    assert {*Method} == {*adversarial.METHODS} == {*adversarial.FREE}


def test_a_bank_that_was_learned_from_is_no_target(tmp_path):
    spec = read_spec("jx-bank", 480)
    short = spec.model_copy(update={"seconds": 0.2, "store": spec.store.model_copy(update={"features": ["mel"]})})
    folder = dataset.create(tmp_path / "set", short)
    for number in range(short.shards):
        dataset.write_shard(tmp_path / "set", number)
    engine.write_card(folder, short)
    dataset.finish(folder, short)
    with pytest.raises(ValueError, match="bank mine has tones"):
        bench.bench(tmp_path / "set", {}, {"mine": factory_bank().tones[:3]})


def test_a_tone_of_a_bank_is_known_also_where_it_differs_in_what_is_held_fixed():
    spec = read_spec("jx-bank").model_copy(update={"fixed": {"vca_level": 108}})
    factory = factory_bank().tones[0]
    rows = [list(tone.values().values()) for tone in (factory, factory.replace(vca_level=3))]
    played = bench._played(spec, rows)
    assert np.array_equal(played[0], played[1])
    assert played[0, NAMES.index("vca_level")] == 108


@pytest.fixture
def captured(toy, tmp_path):
    """The toy as if a board had played it."""
    shutil.copytree(toy, tmp_path / "captured")
    (tmp_path / "captured" / dataset.CAPTURE).write_text("{}")
    return tmp_path / "captured"


def test_guesses_are_compared_with_what_a_board_played(toy, captured, monkeypatch):
    def apart(path):
        found = bench.bench(path, {}, {}, 2)
        heard = {name: row["heard"] for name, row in found["heard"]["parameters"].items()}
        return found["sounds"][bench.TEST]["renderer's floor"]["MSS"]["mean"], heard

    floor, heard = apart(captured)
    assert (floor, heard) == (pytest.approx(apart(toy)[0], abs=0.2), apart(toy)[1])
    own = dataset.DatasetItem.audio.fget
    monkeypatch.setattr(dataset.DatasetItem, "audio", property(lambda item: 0.1 * own(item)))
    louder = apart(captured)
    assert louder[0] > floor + 5
    assert louder[1] == heard


def test_what_a_board_played_is_not_searched_for(captured, tmp_path):
    searched = run("ml", "bench", captured, "--search", "64", "-n", "2", "-o", tmp_path / "x")
    assert "was captured from a real board" in searched.stderr
    contest = run("ml", "adversarial", "avo", captured, "-o", tmp_path / "x")
    assert "was captured from a real board" in contest.stderr


def test_silent_targets_are_left_out(toy, monkeypatch):
    column = dataset.Dataset.column
    kept = bench.bench(toy, {}, {}, 3)["sounds"][bench.TEST]["mean tone"]["MSS"]["each"]

    def silenced(own, name):
        found = column(own, name)
        return np.arange(len(found)) == 1 if name == "silent" else found

    monkeypatch.setattr(dataset.Dataset, "column", silenced)
    found = bench.bench(toy, {}, {}, 2)["sounds"][bench.TEST]["mean tone"]["MSS"]["each"]
    assert found == [kept[0], kept[2]]


def test_a_search_is_not_measured_on_what_it_does_not_look_for(toy, tmp_path):
    spec, plans = dataset.open(toy).spec, []
    with pytest.raises(ValueError, match="vca_level do not vary"):
        Searches(tmp_path, 64, 0).found(spec, plans, [n for n in NAMES if n != "vca_level"], lambda done, total: None)
    hot = spec.model_copy(update={"machine": spec.machine.model_copy(update={"temperature": 40.0})})
    with pytest.raises(ValueError, match="usual circuits"):
        Searches(tmp_path, 64, 0).found(hot, plans, NAMES, lambda done, total: None)


def test_a_file_of_something_else_is_no_list_of_targets(tmp_path):
    path = tmp_path / "kept.json"
    for text, why in (("[1]", "is no list"), ('{"a": 1, "b": 2, "targets": []}', r"another list \(b\)")):
        path.write_text(text)
        with pytest.raises(ValueError, match=why):
            earlier(path, {"a": 1}, "list")
