"""A space of notes: pictures both ways, sizes that are exact, two rungs of training, and all that can be made of a place."""

import time

import numpy as np
import pytest
import soundfile
from PIL import Image
from typer.testing import CliRunner

from jxemu.app import waves
from jxemu.app.cli import app
from jxemu.app.words import note_in
from jxemu.render import dataset

torch = pytest.importorskip("torch")

from jxemu.ml import samplegen, tuning  # noqa: E402 - what they need was looked for first
from jxemu.ml.train import Epoch, Schedule  # noqa: E402

RATE = 8_000
SMALL = samplegen.Picture(RATE, 256, 128, 24)
QUICK = Schedule(60, 8, 6e-3, 0.0), Schedule(400, 16, 3e-3, 0.0)


def note(hertz=220.0, bright=4, seconds=0.4):
    at = np.arange(round(seconds * RATE)) / RATE
    return 0.3 * np.exp(-4 * at) * sum(np.sin(2 * np.pi * hertz * n * at) / n for n in range(1, bright + 1))


@pytest.fixture(scope="module")
def groups():
    rng = np.random.default_rng(0)
    hertz, bright = rng.uniform(150, 600, 60), rng.integers(1, 6, 60)
    sounds = [note(*each) for each in zip(hertz, bright, strict=True)]
    whole = samplegen.Sounds.of(sounds, SMALL, (hertz[:, None] - 150) / 450, [f"piano {n}" for n in range(60)])
    return whole.some(range(48)), whole.some(range(48, 60))


@pytest.fixture(scope="module")
def space(groups, tmp_path_factory):
    outer, inner = samplegen.Outer("conv", 6, 16, 2), samplegen.Inner(4, 48, 2, conditions=1)
    return samplegen.train(outer, inner, *groups, tmp_path_factory.mktemp("space"), QUICK)


# --- pictures ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "most"), [("magnitude", 0.1), ("decibel", 0.1), ("complex", 0.01), ("polar", 0.01), ("phase", 0.1)]
)
def test_a_picture_becomes_its_sound_again(kind, most):
    picture = samplegen.Picture(RATE, 512, 128, 40, kind)
    sound = note(300, 4, 0.6)
    again = picture.sound(*picture.of(sound))
    levels = [np.abs(samplegen.analysed(each, 512, 128))[4:34] for each in (sound, again)]
    assert np.linalg.norm(levels[1] - levels[0]) < most * np.linalg.norm(levels[0])


@pytest.mark.parametrize("kind", samplegen.KINDS)
def test_what_lies_above_a_pictures_band_is_silent(kind):
    picture = samplegen.Picture(RATE, 512, 128, 40, kind, band=0.25)
    assert picture.shape[2] == 65
    again = picture.sound(*picture.of(note(200, 12, 0.6)))
    levels = np.abs(samplegen.analysed(again, 512, 128))[8:32]
    assert levels[:, 70:].max() < 0.02 * levels[:, :60].max()
    with pytest.raises(samplegen.SpaceError, match="share"):
        samplegen.Picture(RATE, band=0.0)


def test_the_levels_of_frames_are_told_below_the_loudest():
    levels = SMALL.levels(note(500, 1))
    assert levels.shape == (24, 129)
    assert levels.max() == 0
    assert levels[5].argmax() == 16  # 500 Hz of 31.25 a bin


def test_a_note_is_its_lowest_strong_partial():
    sound = note(220, 4, 0.6) + 0.004 * np.sin(2 * np.pi * 110 * np.arange(round(0.6 * RATE)) / RATE)
    assert samplegen.lowest_partial(sound, RATE) == pytest.approx(220, rel=0.01)
    assert samplegen.is_note(sound, RATE, 57)
    assert samplegen.is_note(note(220 * 1.08), RATE, 57)
    assert not samplegen.is_note(note(220 * 1.12), RATE, 57)
    assert not samplegen.is_note(np.zeros(1000), RATE, 57)


def test_short_sounds_are_filled_and_long_ones_cut_and_silence_stays():
    for seconds in (0.05, 3.0):
        assert SMALL.of(note(seconds=seconds))[0].shape == SMALL.shape
    picture, level = SMALL.of(np.zeros(100))
    assert level == 0
    assert not np.any(SMALL.sound(picture, level))
    with pytest.raises(samplegen.SpaceError, match="silent"):
        samplegen.Sounds.of([np.zeros(100)], SMALL)


def test_what_is_quiet_is_not_learned():
    sound = note(500, 1) + 1e-5 * np.random.default_rng(0).standard_normal(3_200)
    picture, _ = SMALL.of(sound)
    assert (picture[0, 6:18, 60:] == 0).all()


def test_categories_are_words_of_names():
    assert [samplegen.category_of(name) for name in ("Soft BASS 2", "E.PIANO", "zzz")] == ["bass", "piano", "other"]


def test_mixes_lie_between_their_sounds_and_diverse_ones_are_apart():
    x = torch.eye(6).reshape(6, 1, 2, 3)
    made = samplegen.mixed(x)
    assert torch.allclose(made.sum((1, 2, 3)), torch.ones(6))
    assert made.max() <= 1.0
    near = np.concatenate([np.zeros((5, 4)), np.eye(4)])
    assert set(samplegen.diverse(near, 5)) >= {5, 6, 7, 8}


@pytest.mark.parametrize("mixes", [True, False])
def test_a_first_rung_that_was_stopped_goes_on_as_an_unbroken_one(groups, tmp_path, monkeypatch, mixes):
    monkeypatch.setattr("jxemu.ml.train.SAVE_EVERY", 0.0)
    outer, schedule = samplegen.Outer("flat", 4, 8, 1), Schedule(4, 8, 3e-3, 0.0)

    def stop(done, steps, loss):
        if done > 0.6 * steps:
            raise KeyboardInterrupt

    whole, _ = samplegen.train_outer(outer, *groups, tmp_path / "whole", schedule, mixes)
    with pytest.raises(KeyboardInterrupt):
        samplegen.train_outer(outer, *groups, tmp_path / "parts", schedule, mixes, stop)
    parts, _ = samplegen.train_outer(outer, *groups, tmp_path / "parts", schedule, mixes)
    for one, other in zip(whole.state_dict().values(), parts.state_dict().values(), strict=True):
        assert torch.equal(one, other)


# --- sizes ---------------------------------------------------------------------------------------


def test_layer_sizes_go_from_start_to_end():
    assert samplegen.interpolate_layer_sizes(100, 10, 3, 1.0) == [100, 70, 40, 10]
    sizes = samplegen.interpolate_layer_sizes(1000, 8, 4, 0.5)
    assert (sizes[0], sizes[-1]) == (1000, 8)
    assert (np.diff(sizes) < 0).all()
    assert sizes[1] < samplegen.interpolate_layer_sizes(1000, 8, 4, 1.0)[1]
    with pytest.raises(samplegen.SpaceError, match="ratio above 0"):
        samplegen.interpolate_layer_sizes(1, 0, 3)


@pytest.mark.parametrize("kind", samplegen.OUTERS)
def test_weights_are_known_before_a_network_is_built(kind):
    rng = np.random.default_rng(1)
    for _ in range(50):
        shape = int(rng.integers(1, 3)), int(rng.integers(6, 40)), int(rng.integers(20, 80))
        outer = samplegen.Outer(
            kind, *(int(x) for x in rng.integers(1, 20, 2)), int(rng.integers(1, 4)), rng.uniform(0.2, 1)
        )
        network = samplegen.OUTERS[kind](outer, shape)
        assert sum(p.numel() for p in network.parameters()) == samplegen.OUTERS[kind].weights(outer, shape)
        x = torch.randn(2, *shape)
        code = network.encode(x)
        assert code.shape == (2, network.code)
        assert network.decode(code).shape == x.shape


def test_an_inner_ones_weights_are_known_too():
    rng = np.random.default_rng(2)
    for _ in range(50):
        inner = samplegen.Inner(
            *(int(x) for x in rng.integers(1, 30, 2)), int(rng.integers(1, 5)), 0.6, int(rng.integers(3))
        )
        code = int(rng.integers(1, 100))
        assert sum(p.numel() for p in samplegen.Vae(inner, code).parameters()) == inner.weights(code)


def test_what_latents_carry_is_the_divergence_from_a_normal_density():
    mean, spread = torch.tensor([[0.0, 1.0, 0.0]]), torch.tensor([[0.0, 0.0, -2.0]])
    normal = torch.distributions.Normal
    wanted = torch.distributions.kl_divergence(normal(mean, (0.5 * spread).exp()), normal(0.0, 1.0))[0]
    assert torch.allclose(samplegen.carried(mean, spread), wanted)


def test_hidden_layers_are_images_of_a_picture(groups):
    shape, picture = SMALL.shape, groups[0].pictures[0]
    conv = samplegen.Conv(samplegen.Outer("conv", 4, 8, 2), shape)
    assert [images.shape[0] for _, images in samplegen.layers(conv, picture)] == [8, 4, 8, 1]
    step = samplegen.Step(samplegen.Outer("step", 4, 8, 2), shape)
    assert {images.shape[:2] for _, images in samplegen.layers(step, picture)} == {(1, 24)}
    tiles = samplegen.Patch(samplegen.Outer("patch", 2), shape)
    assert all(images.shape[1:] == (24, 8) for _, images in samplegen.layers(tiles, picture))


# --- when to stop --------------------------------------------------------------------------------


def curve(train, test):
    return [Epoch(n + 1, a, {"train": a, "test": b}) for n, (a, b) in enumerate(zip(train, test, strict=True))]


def test_training_ends_for_the_reasons_that_it_should():
    assert samplegen.reason(curve([1.0] * 10, [1.0] * 10)) == "nothing moves any more"
    assert samplegen.reason(curve(np.geomspace(1, 0.1, 10), np.geomspace(1, 0.1, 10))) is None
    assert "by heart" in samplegen.reason(curve([0.1] * 6, [0.4] * 6))
    assert "wrong" in samplegen.reason(curve([1.0] * 6, [0.4] * 6))
    assert samplegen.capped(seconds=0)(curve([1.0], [1.0]))
    assert samplegen.capped(best=[1.0, 0.2])(curve([1.0, 1.0], [1.0, 0.7]))
    assert not samplegen.capped(best=[1.0, 0.2])(curve([1.0, 1.0], [1.0, 0.5]))


def test_the_weights_of_the_best_epoch_are_kept(groups, tmp_path):
    outer = samplegen.Outer("conv", 4, 8, 2)
    learned, judged = groups[0].some(range(4)), groups[1]  # four sounds are soon learned by heart
    network, found = samplegen.train_outer(
        outer, learned, judged, tmp_path, Schedule(200, 4, 0.02, 0.0), ends=lambda curve: False
    )
    test = [epoch.figures["test"] for epoch in found]
    assert test.index(min(test)) < len(test) - 1
    y = torch.from_numpy(groups[1].pictures).float()
    with torch.no_grad():
        assert float((network.decode(network.encode(y)) - y).square().mean()) == pytest.approx(min(test), rel=1e-3)


# --- the space -----------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [kind for kind in samplegen.OUTERS if kind != "patch"])
def test_every_outer_auto_encoder_learns(kind, groups, tmp_path):
    outer = samplegen.Outer(kind, 8, 24, 2)
    _, found = samplegen.train_outer(outer, *groups, tmp_path, Schedule(6, 8, 3e-3, 0.0))
    assert found[-1].figures["train"] < 0.9 * found[0].figures["train"]


def test_tiles_are_told_by_those_of_their_components_that_differ_most(groups, tmp_path):
    network, _ = samplegen.train_outer(samplegen.Outer("patch", 4), *groups, tmp_path)
    x = torch.from_numpy(groups[0].pictures).float()
    tiles = network._cut(x)
    left = []
    with torch.no_grad():
        off = float((network.decode(network.encode(x)) - x).square().sum())
        for begin, end, _ in network.bands:
            own = tiles[:, begin:end] - tiles[:, begin:end].mean((0, 1))
            _, turn = torch.linalg.eigh(own.flatten(0, 1).T.double() @ own.flatten(0, 1).double())
            left.append((own.double() @ turn).square().sum(0).flatten())
    left = torch.cat(left).sort().values  # what is not among the largest is lost
    assert off == pytest.approx(
        float(left[: len(left) - network.code].sum()), rel=0.05
    )  # what tiles are filled up with is cut off again


def test_all_numbers_of_tiles_give_the_picture_back(groups, tmp_path):
    x = torch.from_numpy(groups[0].pictures[:4]).float()
    whole, _ = samplegen.train_outer(samplegen.Outer("patch", 1000), *groups, tmp_path)
    with torch.no_grad():
        assert torch.allclose(whole.decode(whole.encode(x)), x, atol=1e-4)


def test_the_space_tells_more_than_principal_components_of_its_size(space, groups):
    card = space.card
    assert card["through"] < card["by principal components"]["4"]
    assert card["active"] >= 2
    assert card["outer"] < card["through"]
    assert card["by axes"]["4"] == pytest.approx(card["through"])
    assert card["by axes"]["4"] <= card["by axes"]["1"]
    assert (np.diff(space.spread) <= 1e-6).all()
    rows = space.losses(groups[1])
    assert [off for _, off in rows] == sorted((off for _, off in rows), reverse=True)


def near(a, b):
    """The same levels; phases are guessed anew, and last bits can turn a guess."""
    levels = [np.abs(samplegen.analysed(each, 256, 128)) for each in (a, b)]
    return np.linalg.norm(levels[0] - levels[1]) < 0.03 * np.linalg.norm(levels[1])


def test_all_that_can_be_made_of_a_place(space):
    a, b, told = note(200, 1), note(200, 5), np.array([0.1])
    way = space.interpolated(a, b, 4, told)
    for end, sound in ((way[0], a), (way[-1], b)):
        place, level = space.place(sound, told)
        assert near(end, space.at(place, told, level)[0])
    assert len(space.plainly_interpolated(a, b, 3)) == 3
    assert not near(*space.perturbed(a, 0.5, 2, 1, told))
    assert near(*space.perturbed(a, 0.0, 2, 1, told))
    first, again, other = (space.drawn(1, seed, told)[0] for seed in (1, 1, 2))
    assert np.array_equal(first, again)
    assert not np.allclose(first, other)
    assert len(space.swept(0, [-2, 0, 2], told)) == 3
    assert len(space.encoded_again(a, 3, told)) == 3
    with pytest.raises(samplegen.SpaceError, match="no axis 9"):
        space.swept(9, [0.0])
    with pytest.raises(samplegen.SpaceError, match="wants 1 conditions"):
        space.drawn(1, told=np.zeros(3))


def test_the_first_axis_changes_more_than_the_last(space):
    def reach(axis):
        low, high = (space.pictures(np.eye(4)[axis][None] * x, np.full((1, 1), 0.5, np.float32)) for x in (-2.0, 2.0))
        return np.abs(high - low).mean()

    assert reach(0) > reach(3)


def test_sounds_are_as_loud_as_what_they_come_from(space, groups):
    quiet, loud, told = 0.1 * note(200, 2), note(200, 2), np.array([0.1])
    way = space.interpolated(quiet, loud, 3, told)
    assert [np.abs(way[n]).max() / np.abs(way[2]).max() for n in (0, 1)] == pytest.approx([0.1, 0.55], rel=0.2)
    made = [space.perturbed(sound, 0.1, 1, 0, told)[0] for sound in (quiet, loud)]
    assert np.abs(made[0]).max() == pytest.approx(0.1 * np.abs(made[1]).max(), rel=0.05)
    assert space.card["level"] == pytest.approx(groups[0].levels.mean())


def test_a_space_goes_on_from_another(space, groups, tmp_path):
    told = []
    slow = Schedule(2, 1, 1e-6, 0.0)
    tuned = samplegen.train(space.outer, space.inner, *groups, tmp_path, (slow, slow), tuned=space, mixes=False,
                            heard=lambda rung, picture, at_last: told.append((rung, at_last, picture)))  # fmt: skip
    assert tuned.card["through"] == pytest.approx(space.card["through"], rel=0.02)
    assert any(not torch.equal(a, b) for a, b in zip(tuned.vae.parameters(), space.vae.parameters(), strict=True))
    assert [each[:2] for each in told] == [("outer", False)] * 2 + [("inner", False)] * 2 + [
        ("outer", True),
        ("inner", True),
    ]
    assert np.allclose(told[-1][2], tuned.rebuilt(groups[1])[0], atol=1e-5)
    assert "after epoch 2" in tuned.card["ended"]["inner"]
    with pytest.raises(samplegen.SpaceError, match="tuned is not kept"):
        samplegen.train(space.outer, space.inner, *groups, tmp_path, QUICK, known=space, tuned=space)


def test_fewer_latents_tell_less(space, groups, tmp_path):
    kept = samplegen.train(space.outer, space.inner, *groups, tmp_path, QUICK, known=space, also=(1, 2, 4, 1))
    by_latents = kept.card["by latents"]
    assert list(by_latents) == ["1", "2", "4"]
    assert by_latents["4"] == kept.card["through"]
    assert list(kept.card["by axes"]) == ["1", "2", "4"]
    assert min(by_latents["1"], by_latents["2"]) > by_latents["4"]
    assert kept.card["ended"]["outer"] == space.card["ended"]["outer"]
    assert not list(tmp_path.glob("latents-*"))


def test_sounds_that_are_silent_teach_nothing(groups, tmp_path):
    learned, judged = groups
    silent = samplegen.Sounds(SMALL, 0 * learned.pictures, 0 * learned.levels, learned.told, learned.names)
    with pytest.raises(samplegen.SpaceError, match="silent"):
        samplegen.train(samplegen.Outer("patch"), samplegen.Inner(conditions=1), silent, judged, tmp_path, QUICK)


def test_a_saved_space_is_the_same(space, groups, tmp_path):
    space.save(tmp_path)
    again = samplegen.Space.load(tmp_path)
    assert np.array_equal(again.rebuilt(groups[1]), space.rebuilt(groups[1]))
    (tmp_path / "card.json").write_text("{}")
    with pytest.raises(samplegen.SpaceError, match="holds no space"):
        samplegen.Space.load(tmp_path)


# --- the search ----------------------------------------------------------------------------------


def test_a_search_goes_on_and_keeps_to_its_caps(groups, tmp_path):
    start, caps = samplegen.Outer("conv"), tuning.Caps(weights=3_000, seconds=20, epochs=2)
    tuning.tune("outer", start, *groups, tmp_path, 3, caps)
    study = tuning.tune("outer", start, *groups, tmp_path, 5, caps)
    assert len(study.trials) == 5
    for trial in study.trials:
        assert (trial.value is None) == (trial.user_attrs["weights"] > 3_000)
        assert trial.user_attrs.get("epochs", 0) <= 2
    assert (tmp_path / "best.csv").read_text().startswith("trial,")


def test_a_search_that_goes_on_tries_what_was_not_tried_and_other_kinds_stay_apart(groups, tmp_path):
    caps = tuning.Caps(seconds=20, epochs=1)
    tuning.tune("outer", samplegen.Outer("conv"), *groups, tmp_path, 2, caps)
    study = tuning.tune("outer", samplegen.Outer("conv"), *groups, tmp_path, 4, caps)
    assert len({tuple(trial.params.values()) for trial in study.trials}) == 4
    assert "ratio" not in study.trials[0].params  # a convolution has none
    other = tuning.tune("outer", samplegen.Outer("flat"), *groups, tmp_path, 1, caps)
    assert len(other.trials) == 1
    assert "ratio" in other.trials[0].params
    grid = tuning.tune("outer", samplegen.Outer("conv"), *groups, tmp_path, 1, caps, grid=True)
    assert grid.trials[0].params["size"] in tuning.GRID["outer"]["size"]


def test_a_trial_ends_when_its_time_is_over_in_the_middle_of_an_epoch(groups, tmp_path):
    begun = time.monotonic()
    study = tuning.tune("outer", samplegen.Outer("conv"), *groups, tmp_path, 1, tuning.Caps(seconds=0.0, epochs=5000))
    assert time.monotonic() - begun < 60
    assert study.trials[0].state.name == "PRUNED"


def test_an_inner_one_is_searched_for_on_a_grid(groups, space, tmp_path):
    caps = tuning.Caps(epochs=2)
    study = tuning.tune("inner", space.inner, *groups, tmp_path, 2, caps, grid=True, encoder=space.encoder)
    assert {trial.params["hidden"] for trial in study.trials} <= {64, 256}
    other = samplegen.OUTERS["conv"](space.outer, groups[0].picture.shape)
    again = tuning.tune("inner", space.inner, *groups, tmp_path, 1, caps, grid=True, encoder=other)
    assert len(again.trials) == 1, "losses on another encoder's codes are another search's"
    with pytest.raises(samplegen.SpaceError, match="trained outer one"):
        tuning.tune("inner", space.inner, *groups, tmp_path, 2, caps)


def test_a_turn_in_a_quiet_bin_counts_for_nothing():
    shape = samplegen.Picture(RATE, 256, 128, 24, "phase")
    wanted = np.zeros((1, *shape.shape), np.float32)
    wanted[:, 0, :, 5] = 1.0
    quiet, loud = wanted.copy(), wanted.copy()
    quiet[:, 1, :, 9], loud[:, 1, :, 5] = 0.5, 0.5
    assert shape.error(quiet, wanted) == 0
    assert shape.error(loud, wanted) > 0


def test_what_the_loss_will_come_to_counts_in_a_search():
    falling, flat = (
        [Epoch(n, x, {"test": x}) for n, x in enumerate(losses)] for losses in ((0.8, 0.4, 0.2, 0.1), (0.1,) * 4)
    )
    assert tuning.adjusted(falling) == pytest.approx(0.05)
    assert tuning.adjusted(flat) == pytest.approx(0.1)


# --- the commands --------------------------------------------------------------------------------


def command(*words):
    return CliRunner().invoke(app, ["ml", "notes", *map(str, words)])


def test_the_commands_make_a_space_and_sounds_of_it(tmp_path):
    folder = tmp_path / "sounds"
    folder.mkdir()
    for n in range(7):
        soundfile.write(folder / f"bell {n}.wav", note(200 + 50 * n), RATE)
    done = command("train", folder, "-o", tmp_path / "s", "--window", 256, "--seconds", 0.4, "--latents", 2, "--hidden", 8,
                   "--outer-epochs", 1, "--inner-epochs", 1)  # fmt: skip
    assert done.exit_code == 0, done.output
    assert "principal components" in (tmp_path / "s/README.md").read_text()
    for picture in ("curves", "latents", "rebuilt"):
        assert (tmp_path / f"s/{picture}.png").exists()
    a, b = folder / "bell 0.wav", folder / "bell 1.wav"
    for words, count in (
        (["interpolate", tmp_path / "s", a, b], 5),
        (["interpolate", tmp_path / "s", a, b, "--plain", "-n", 2], 2),
        (["around", tmp_path / "s", a, "-n", 2], 2),
        (["draw", tmp_path / "s", "-n", 3], 3),
        (["sweep", tmp_path / "s", "--axis", 1], 5),
        (["again", tmp_path / "s", a], 3),
        (["rebuild", tmp_path / "s", folder], 7),
        (["rebuild", tmp_path / "s", folder, "--axes", 1], 7),
    ):
        out = tmp_path / "-".join(map(str, words[:1])) / str(count)
        done = command(*words, "-o", out)
        assert done.exit_code == 0, done.output
        assert len(list(out.glob("*.wav"))) == count
        assert (out / "sounds.png").exists()
    kept = command("train", folder, "-o", tmp_path / "kept", "--window", 256, "--seconds", 0.4, "--latents", 1, "--space", tmp_path / "s",
                   "--inner-epochs", 1, "--inner-hidden", 16, "--inner-depth", 2, "--inner-rate", 0.01, "--inner-batch", 3)  # fmt: skip
    assert kept.exit_code == 0, kept.output
    first, second = (samplegen.Space.load(tmp_path / name) for name in ("s", "kept"))
    assert all(torch.equal(a, b) for a, b in zip(first.encoder.parameters(), second.encoder.parameters(), strict=True))
    assert (second.inner.latents, second.inner.hidden, second.inner.depth) == (1, 16, 2)
    done = command(
        "search",
        folder,
        "-o",
        tmp_path / "t",
        "--trials",
        1,
        "--epochs",
        1,
        "--window",
        256,
        "--seconds",
        0.4,
        "--weights",
        10**8,
    )
    assert done.exit_code == 0, done.output
    assert "1 trials" in done.output
    assert (tmp_path / "t/search.png").exists()
    inner = command("search", folder, "-o", tmp_path / "t", "--what", "inner", "--space", tmp_path / "s", "--grid", "--trials", 2,
                    "--epochs", 1, "--window", 256, "--seconds", 0.4, "--weights", 10**8)  # fmt: skip
    assert inner.exit_code == 0, inner.output
    assert "2 trials, 2 whole" in inner.output
    few = command("train", folder, "-o", tmp_path / "few", "--window", 256, "--seconds", 0.4, "--latents", 1, "--most", 2,
                  "--outer-epochs", 1, "--inner-epochs", 1)  # fmt: skip
    assert few.exit_code == 0, few.output
    assert "2 sounds learned from" in (tmp_path / "few/README.md").read_text()


def test_a_space_of_wanted_notes_is_tuned_and_filmed(tmp_path):
    folder = tmp_path / "sounds"
    folder.mkdir()
    for name, hertz in (
        ("a C4", 261.6),
        ("b C4", 263.0),
        ("c", 262.0),
        ("d C4 not", 330.0),
        ("e C5", 261.6),
        ("f", 523.3),
    ):
        soundfile.write(folder / f"{name}.wav", note(hertz), RATE)
    sizes = "--window", 256, "--seconds", 0.4, "--latents", 1, "--hidden", 8, "--outer-epochs", 1, "--inner-epochs", 1
    done = command("train", folder, "-o", tmp_path / "s", "--note", "C4", "--picture", "decibel", "--band", 0.5, "--outer", "step",
                   "--no-mixes", "--beta", 0.001, "--also", 2, *sizes)  # fmt: skip
    assert done.exit_code == 0, done.output
    assert "3 of 6 sounds" in done.output
    assert all(left in done.output for left in ("left out: d C4 not", "left out: e C5", "left out: f"))
    space = samplegen.Space.load(tmp_path / "s")
    assert (space.picture.kind, space.picture.band, space.outer.kind, space.inner.beta) == (
        "decibel",
        0.5,
        "step",
        0.001,
    )
    assert "| latents | 1 | 2 |" in (tmp_path / "s/README.md").read_text()
    assert "| main axes | 1 |" in (tmp_path / "s/README.md").read_text()
    assert (tmp_path / "s/layers.png").exists()
    for name in ("outer", "inner"):
        assert 0 < np.abs(soundfile.read(tmp_path / f"s/{name}.wav")[0]).max() < 1
    words = (
        "train",
        folder,
        "-o",
        tmp_path / "tuned",
        "--note",
        "C4",
        "--picture",
        "decibel",
        "--band",
        0.5,
        "--tune",
        tmp_path / "s",
    )
    tuned = command(*words, "--window", 256, "--seconds", 0.4, "--outer-epochs", 1, "--inner-epochs", 1)
    assert tuned.exit_code == 0, tuned.output
    assert "leave --latents, --hidden out" in command(*words, "--hidden", 8, "--latents", 3).output
    before, after = (torch.cat([p.detach().ravel() for p in each.encoder.parameters()]) for each in (space, samplegen.Space.load(tmp_path / "tuned")))  # fmt: skip
    assert 0 < float((after - before).abs().max()) < 1e-4
    done = command("film", folder / "a C4.wav", "-o", tmp_path / "film.gif", "--space", tmp_path / "s")
    assert done.exit_code == 0, done.output
    with Image.open(tmp_path / "film.gif") as film:
        assert film.n_frames == space.picture.frames
    for words, said in ((["film", folder / "c.wav", "-o", tmp_path / "film.mp4"], ".gif"),
                        (["film", folder, "-o", tmp_path / "film.gif"], "6 sounds do not fit"),
                        (["film", folder / "c.wav", "-o", tmp_path / "film.gif", "--velocity", 3], "leave --velocity out"),
                        (["train", folder, "-o", tmp_path / "x", "--note", "C4,E4"], "a note's name")):  # fmt: skip
        done = command(*words)
        assert done.exit_code == 2
        assert said in done.output


def test_a_space_of_a_dataset_is_told_notes_and_knows_its_tones_by_name(tmp_path):
    (tmp_path / "spec.toml").write_text(
        'version = 1\nname = "small"\nitems = 48\nseconds = 0.3\n[machine]\nsample_rate = 44100\n'
        "[performance]\nchoose = 'grid'\nnotes = [48, 60]\nvelocities = 100\nhold = 0.2\n[store]\naudio = true\nfeatures = []\n"
        "[tones]\nsource = 'bank'\nfiles = ['factory']\n[splits]\ntrain = 0.5\nvalidation = 0.0\ntest = 0.5\n"
    )
    done = CliRunner().invoke(app, ["dataset", "render", str(tmp_path / "spec.toml"), "-o", str(tmp_path / "data")])
    assert done.exit_code == 0, done.output
    sizes = "--window", 512, "--seconds", 0.2, "--latents", 2, "--hidden", 4, "--outer-epochs", 1, "--inner-epochs", 1
    done = command("train", tmp_path / "data", "-o", tmp_path / "s", "--note", "C4", *sizes)
    assert done.exit_code == 0, done.output
    space = samplegen.Space.load(tmp_path / "s")
    assert space.inner.conditions == 2
    whole = dataset.open(tmp_path / "data")
    learned = whole.split("train")
    middle = sum(item.performance[0][0] == 60 for item in learned)
    assert 0 < middle < len(learned)
    assert f"{middle} sounds learned from" in (tmp_path / "s/README.md").read_text()
    assert waves.dataset_tones(tmp_path / "data", "train") == [name.decode() for name in learned.column("name")]
    made = command("sweep", tmp_path / "s", "-o", tmp_path / "sweep", "--axis", 0, "--reach", 1, "--velocity", 80)
    assert made.exit_code == 0, made.output
    way = command(
        "interpolate",
        tmp_path / "s",
        *(tmp_path / f"sweep/0{n}.wav" for n in (0, 4)),
        "-o",
        tmp_path / "way",
        "--end-note",
        72,
    )
    assert way.exit_code == 0, way.output
    done = command("train", tmp_path / "data", "-o", tmp_path / "n", "--note", "D4", *sizes)
    assert done.exit_code == 2
    assert "no items for train of the notes that are wanted" in done.output


def test_names_of_notes_are_found_in_names_of_files():
    names = ("Piano C4", "x-F#3-soft", "Bb2", "C-1", "bass 2", "ABC4D", "Cello")
    assert [note_in(name) for name in names] == [60, 54, 46, 0, None, None, None]


def test_the_commands_say_what_is_wrong_in_a_sentence(tmp_path):
    soundfile.write(tmp_path / "a.wav", note(), RATE)
    for words, said in (
        (["train", tmp_path / "a.wav", "-o", tmp_path / "s"], "too few"),
        (["draw", tmp_path, "-o", tmp_path / "x"], "holds no space"),
        (["train", tmp_path / "none.wav", "-o", tmp_path / "s"], "none.wav"),
    ):
        done = command(*words)
        assert done.exit_code == 2, done.output
        assert said in done.output
        assert done.output.count("\n") <= 3
