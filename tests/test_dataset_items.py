import collections

import numpy as np
import pytest

import jxemu
from jxemu.machine import DUAL
from jxemu.patch.bank import Bank
from jxemu.render import features, sounds
from jxemu.render.items import Items, caption, families, real_tones
from jxemu.render.presets import PRESETS
from jxemu.render.spec import NAMES, SPLITS, THESIS, TOPS, SpecError, checked, freeze, read_spec

SHORT = {
    "name": "short", "items": 40, "seconds": 0.2, "machine": {"oversample": 2}, "tones": {"source": "prior"},
    "performance": {"notes": {"low": 40, "high": 80}, "velocities": [30, 100], "hold": {"low": 0.05, "high": 0.15}},
    "store": {"features": ["thesis", "mel"]},
}  # fmt: skip


def spec(**changes):
    return freeze(checked(SHORT | changes, "test"), None)


def bank(path, tones):
    path.write_bytes(Bank(tones).encode("jx8p")[0])
    return path


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_is_a_whole_spec_that_reads_back_from_its_own_json(name):
    import json

    found = read_spec(name)
    assert checked(json.loads(found.to_json()), name) == found
    assert found.count > 0


def test_the_thesis_preset_has_its_setting():
    found = read_spec("thesis-1m")
    assert (found.count, found.machine.sample_rate, found.seconds) == (1_000_000, 44_100, 4.0)
    assert len(found.varied) == len(set(THESIS)) == 26
    assert found.performance.notes == 69
    assert sounds.shapes(found)["features/thesis"] == ((690, 16), "f2")


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"items": 0}, "items: Input should be greater"),
        ({"itmes": 3}, "itmes: Extra inputs are not permitted"),
        ({"machine": {"sample_rate": 22_050}}, "machine: sample_rate 22050 is not one of"),
        ({"machine": {"sync": "maybe"}}, "sync 'maybe' is not known"),
        ({"fixed": {"vcf_frq": 3}}, "fixed: there is no parameter 'vcf_frq'; did you mean vcf_freq?"),
        ({"fixed": {"vcf_freq": 300}}, "vcf_freq cannot be 300"),
        ({"performance": {"velocities": []}}, "velocities must be at least one"),
        ({"performance": {"notes": {"low": 0, "high": 10**12}}}, "performance.notes"),
        ({"performance": {"notes": {"low": 80, "high": 40}}}, "performance.notes: low 80 is above high 40"),
        ({"performance": {"notes": {"low": 36, "hi": 84}}}, "performance.notes.hi: Extra inputs"),
        ({"performance": {"hold": {"low": 3, "high": 1}}}, "performance.hold: low 3.0 is above high 1.0"),
        ({"performance": {"hold": float("inf")}}, "performance.hold"),
        ({"machine": {"temperature": float("nan")}}, "machine.temperature"),
        ({"machine": {"unit": 10**30}}, "machine.unit"),
        ({"vary": []}, "vary: at least one parameter"),
        ({"variants": [{"hpf": 1}], "fixed": {"hpf": 2}}, "hpf: a variant changes what is varied or fixed"),
        (
            {"performance": {"choose": "all", "notes": list(range(128)), "velocities": list(range(1, 128))}},
            "is too large",
        ),
        ({"vary": ["hpf"], "fixed": {"hpf": 1}}, "hpf: varied and fixed at once"),
        ({"tones": {"source": "dice"}}, "tones"),
        ({"performance": {"notes": [200]}}, "notes must be 0..127"),
        ({"performance": {"choose": "grid", "keys": 3}}, "takes and keys are for choose"),
        ({"store": {"features": ["cepstrum"]}}, "feature 'cepstrum' is not known"),
        ({"splits": {"train": 0.5}}, "must add up to 1"),
        ({"tones": {"source": "bank", "files": ["no.syx"]}, "items": None}, "cannot read"),
    ],
)
def test_a_spec_that_cannot_be_is_refused_by_the_name_of_its_entry(tmp_path, changes, why):
    with pytest.raises(SpecError) as error:
        freeze(checked(SHORT | changes, "my.toml"), tmp_path)
    assert why in str(error.value)


@pytest.mark.parametrize("source", ["prior", "normal", "uniform"])
def test_an_item_is_the_same_alone_and_among_others_in_any_order(source):
    items = Items(spec(tones={"source": source}, machine={"unit": "each"}))
    order = np.random.default_rng(0).permutation(40).tolist()
    together = {plan.index: plan for plan in items.plans([(n, 0) for n in order])}
    for index in (0, 7, 39):
        alone = items.plans([(index, 0)])[0]
        assert np.array_equal(alone.values, together[index].values)
        assert np.array_equal(alone.performance, together[index].performance, equal_nan=True)
        assert (alone.unit, alone.split) == (together[index].unit, together[index].split)
    assert len({plan.values.tobytes() for plan in together.values()}) == 40


def test_another_attempt_and_another_seed_are_other_draws():
    items = Items(spec())
    first, second = (items.plans([(3, attempt)])[0] for attempt in (0, 1))
    other = Items(spec(seed=2)).plans([(3, 0)])[0]
    assert not np.array_equal(first.values, second.values)
    assert not np.array_equal(first.values, other.values)


def test_what_is_not_varied_stays_as_it_is():
    items = Items(spec(vary=["vcf_freq", "hpf"], fixed={"chorus": "1"}, tones={"source": "uniform"}))
    values = np.concatenate([plan.values for plan in items.plans([(n, 0) for n in range(40)])])
    changing = {name for name, column in zip(NAMES, values.T, strict=True) if len(set(column.tolist())) > 1}
    assert changing == {"vcf_freq", "hpf"}
    assert set(values[:, NAMES.index("chorus")].tolist()) == {1}


def test_the_normal_is_the_clipped_normal_of_real_tones():
    found = read_spec("thesis-1k")
    values = np.concatenate([plan.values for plan in Items(found).plans([(n, 0) for n in range(3000)])])
    places = [NAMES.index(name) for name in THESIS]
    real, p = real_tones(), values[:, places] / TOPS[places]
    normal = np.random.default_rng(1).multivariate_normal(
        real.mean[places], real.covariance[np.ix_(places, places)], 30_000
    )
    wanted = np.round(np.clip(normal, 0, 1) * TOPS[places]) / TOPS[places]
    assert np.abs(p.mean(0) - wanted.mean(0)).max() < 0.03
    assert np.abs(p.std(0) / wanted.std(0) - 1).max() < 0.1
    assert np.abs(np.corrcoef(p.T) - np.corrcoef(wanted.T)).max() < 0.1


def test_a_bank_gives_each_tone_at_each_note_and_velocity_once(tmp_path):
    tones = [jxemu.Tone(f"T{n}", vcf_freq=10 + n, env1_a=n) for n in range(5)]
    bank(tmp_path / "a.syx", tones)
    given = {"source": "bank", "files": ["a.syx"]}
    grid = {"choose": "grid", "notes": [40, 60], "velocities": [30, 90, 120], "hold": 0.1}
    items = Items(freeze(checked(SHORT | {"tones": given, "performance": grid, "items": None}, "x"), tmp_path))
    plans = items.plans([(n, 0) for n in range(len(items))])
    seen = {
        (plan.name, *plan.performance[0, 0, :2].astype(int).tolist()) for plan in plans if plan.name.startswith("T")
    }
    assert len(seen) == 5 * 6
    assert plans[0].tones()[0].values() == tones[0].values()


def test_whole_banks_stay_on_one_side_where_that_is_asked_for():
    rng = np.random.default_rng(1)
    table = np.floor(rng.random((60, len(NAMES))) * (TOPS + 1)).astype(np.uint8)
    table[45] = table[3]  # a tone of the first bank in the tenth
    table[45, 0] ^= 1
    rows = [{"name": "", "origin": f"{n // 5}.syx", "values": bytes(row.tolist()).hex()} for n, row in enumerate(table)]
    given = {"source": "bank", "files": ["x"], "tones": rows}
    plans = Items(
        spec(items=60, tones=given, splits={"train": 0.4, "validation": 0.3, "test": 0.3, "by": "bank"})
    ).plans([(n, 0) for n in range(60)])
    sides = {n: {plan.split for plan in plans if plan.origin == f"{n}.syx" and plan.index != 45} for n in range(12)}
    assert all(len(side) == 1 for side in sides.values())
    assert set.union(*sides.values()) == {"train", "validation", "test"}
    assert plans[45].split == plans[3].split
    held = Items(spec(items=60, tones=given, splits={"by": "bank"})).plans([(n, 0) for n in range(60)])
    counts = collections.Counter(plan.split for plan in held)
    assert counts["test"] in (4, 5, 6)  # a bank, but for a tone that goes with another
    assert counts["validation"] in (4, 5, 6)
    with pytest.raises(SpecError, match="for tones of files"):
        spec(splits={"by": "bank"})


def banks_of(*sizes):
    """Tones of banks, none akin to another."""
    table = np.floor(np.random.default_rng(1).random((sum(sizes), len(NAMES))) * (TOPS + 1)).astype(np.uint8)
    origins = np.repeat(np.arange(len(sizes)), sizes)
    return [
        {"name": "", "origin": f"{n}.syx", "values": bytes(row.tolist()).hex()}
        for n, row in zip(origins, table, strict=True)
    ]


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("shares", [(0.9, 0.05, 0.05), (0.3, 0.3, 0.4), (0.6, 0.0, 0.4)])
def test_no_split_that_has_a_share_is_without_a_bank(seed, shares):
    given = {"source": "bank", "files": ["x"], "tones": banks_of(2, 64, 64)}
    splits = dict(zip(("train", "validation", "test"), shares, strict=True)) | {"by": "bank"}
    plans = Items(spec(items=130, seed=seed, tones=given, splits=splits)).plans([(n, 0) for n in range(130)])
    assert {plan.split for plan in plans} == {name for name, share in zip(SPLITS, shares, strict=True) if share}


def test_banks_that_are_akin_count_as_one():
    rows = banks_of(5, 5, 5)
    for n in range(5):
        rows[5 + n]["values"] = "01" + rows[n]["values"][2:]
    with pytest.raises(SpecError, match="there are 2 that are not akin"):
        Items(spec(items=15, tones={"source": "bank", "files": ["x"], "tones": rows}, splits={"by": "bank"}))


def test_what_is_damaged_in_a_bank_is_said_and_banks_of_one_name_are_told_apart(tmp_path):
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        bank(
            tmp_path / folder / "x.syx", [jxemu.Tone("A", vcf_freq=len(folder)), jxemu.Tone(folder, env1_a=ord(folder))]
        )
    damaged = tmp_path / "a/x.syx"
    damaged.write_bytes(damaged.read_bytes()[:-5])
    said = []
    files = [str(tmp_path / folder / "x.syx") for folder in ("a", "b")]
    found = read_spec("jx-bank", files=files, say=said.append)
    assert {row.origin for row in found.tones.tones} == {"a/x.syx", "b/x.syx"}
    assert len(said) == 1
    assert said[0].startswith(f"{damaged}: offset ")


def test_near_duplicates_of_a_bank_are_one_family_on_one_side(tmp_path):
    first, apart = (
        jxemu.Tone("A"),
        jxemu.Tone("B", **dict.fromkeys(("env1_a", "env1_d", "env1_s", "vcf_freq", "hpf"), 1)),
    )
    chain = [first, first.replace(vcf_res=9), first.replace(vcf_res=9, mix_dco2=3, lfo_rate=1, lfo_delay=4, env2_a=7)]
    table = np.array([list(tone.values().values()) for tone in [*chain, apart]])
    assert families(table, 40) == [0, 0, 0, 3]
    rows = [{"name": "", "origin": "", "values": bytes(row.tolist()).hex()} for row in table]
    given = {"source": "bank", "files": ["x"], "tones": rows, "choose": "random", "change": 0.3}
    plans = Items(spec(tones=given, splits={"train": 0.4, "validation": 0.3, "test": 0.3})).plans(
        [(n, 0) for n in range(40)]
    )
    sides = {plan.family: {other.split for other in plans if other.family == plan.family} for plan in plans}
    assert set(sides) == {0, 3}
    assert all(len(side) == 1 for side in sides.values())


def test_a_table_of_tones_is_read_and_its_mistakes_are_named(tmp_path):
    (tmp_path / "t.csv").write_text("name,vcf_freq,dco1_wave\nONE,30,saw\nTWO,99,1\n")
    given = {"source": "csv", "files": ["t.csv"]}
    found = freeze(checked(SHORT | {"tones": given, "items": None}, "x"), tmp_path)
    assert [tone.name for tone in found.tones.tones] == ["ONE", "TWO"]
    assert Items(found).plans([(1, 0)])[0].tones()[0].vcf_freq == 99
    (tmp_path / "t.csv").write_text("name,vcf_freq\nONE,30\nTWO,999\n")
    with pytest.raises(SpecError, match=r"t\.csv: line 3: vcf_freq cannot be 999"):
        freeze(checked(SHORT | {"tones": given}, "x"), tmp_path)
    (tmp_path / "t.csv").write_text("vcf_frq,hpf\n30,1\n")
    with pytest.raises(SpecError, match="no parameter 'vcf_frq'; did you mean vcf_freq"):
        freeze(checked(SHORT | {"tones": given}, "x"), tmp_path)


def test_a_table_tells_banks_apart_and_two_are_too_few(tmp_path):
    (tmp_path / "t.CSV").write_text("name,bank,vcf_freq\nONE,a,30\nTWO,b,40\nTHREE,c,50\n")
    found = read_spec("samplegen-1k", files=[str(tmp_path / "t.CSV")], by="bank")
    assert [tone.origin for tone in found.tones.tones] == ["a", "b", "c"]
    (tmp_path / "t.CSV").write_text("name,bank,vcf_freq\nONE,a,30\nTWO,b,40\n")
    with pytest.raises(SpecError, match="3 banks are needed, one for each split; there are 2"):
        read_spec("samplegen-1k", files=[str(tmp_path / "t.CSV")], by="bank")
    with pytest.raises(SpecError, match="not both"):
        read_spec("samplegen-1k", files=["t.csv", "a.syx"])


def test_a_table_as_spreadsheets_write_it_is_read(tmp_path):
    (tmp_path / "t.csv").write_bytes("dco1_wave,vcf_freq,name\nsquare, 64.0,STRINGSÄÄÄ\n".encode("utf-8-sig"))
    found = freeze(checked(SHORT | {"tones": {"source": "csv", "files": ["t.csv"]}, "items": None}, "x"), tmp_path)
    tone = Items(found).plans([(0, 0)])[0].tones()[0]
    assert (tone.dco1_wave, tone.vcf_freq, tone.name) == (1, 64, "STRINGSAAA")


def test_equal_tones_that_are_drawn_are_on_one_side():
    found = spec(
        items=600, vary=["vcf_freq"], tones={"source": "uniform"}, splits={"train": 0.5, "validation": 0.0, "test": 0.5}
    )
    sides = {}
    for plan in Items(found).plans([(n, 0) for n in range(600)]):
        sides.setdefault(plan.values.tobytes(), set()).add(plan.split)
    assert len(sides) <= 128
    assert all(len(side) == 1 for side in sides.values())
    assert len({side for each in sides.values() for side in each}) == 2


def test_tones_that_only_differ_in_what_is_fixed_are_one_family():
    names = ("env1_a", "env1_d", "env1_s", "vcf_freq", "mix_dco1", "mix_dco2")
    tones = [jxemu.Tone(), jxemu.Tone(**dict.fromkeys(names, 9))]
    rows = [{"name": "", "origin": "", "values": bytes(tone.values().values()).hex()} for tone in tones]
    given = {"source": "bank", "files": ["x"], "tones": rows}
    plans = Items(spec(tones=given, items=2, fixed=dict.fromkeys(names, 50))).plans([(0, 0), (1, 0)])
    assert plans[0].family == plans[1].family


def test_several_takes_are_the_same_tone_at_other_keys_and_settings():
    found = spec(
        performance={"choose": "all", "notes": [40, 60], "velocities": [20, 120], "hold": 0.1},
        variants=[{"chorus": "off"}, {"chorus": 2}],
    )
    plan = Items(found).plans([(5, 0)])[0]
    assert found.takes == len(plan.items()) == 8
    assert [item.tone.chorus for item in plan.items()] == [0, 2] * 4
    assert [item.notes[0][:2] for item in plan.items()][::2] == [(40, 20), (40, 120), (60, 20), (60, 120)]
    assert len({item.tone.replace(chorus=0) for item in plan.items()}) == 1
    assert "chorus" not in found.varied
    assert plan.values[0, NAMES.index("chorus")] == 0


def test_a_batch_of_dual_items_gives_the_bytes_of_the_super_jx():
    upper, lower = jxemu.Tone("U", vcf_freq=60), jxemu.Tone("L", dco1_wave="square", chorus=1)
    item = jxemu.Item(upper, [(50, 90, 0.0, 0.1), (57, 90, 0.0, 0.1)], seed=5, lower=lower)
    single = jxemu.Item(upper, [(50, 90, 0.0, 0.1)], seed=5)
    batch = jxemu.render_batch([single, item], 0.2)
    patch = DUAL.replace(upper_tone=0, lower_tone=1)
    alone = jxemu.render(patch, item.notes, 0.2, "superjx", seed=5, bank=Bank([upper, lower], [patch]))
    assert np.array_equal(batch[1], alone)
    assert np.array_equal(batch[0], jxemu.render(upper, single.notes, 0.2, seed=5))


def test_one_channel_is_the_mean_of_both_to_the_last_bit():
    chorus = jxemu.Tone("WIDE", chorus=1)
    items = [
        jxemu.Item(chorus, [(60, 100, 0.0, 0.1)]),
        jxemu.Item(chorus, [(48, 90, 0.0, 0.1)], lower=jxemu.Tone("LOW")),
    ]
    for group in (items, items[:1]):
        both, one = (jxemu.render_batch(group, 0.2, channels=channels) for channels in (2, 1))
        assert one.shape == (*both.shape[:2], 1)
        assert np.array_equal(one[..., 0], (both[..., 0] + both[..., 1]) * np.float32(0.5))
        assert not np.array_equal(both[..., 0], both[..., 1])


def test_stems_add_up_to_the_sound_and_the_latch_is_that_of_the_trace():
    store = {"stems": True, "latch": True, "features": []}
    found = spec(machine={"kind": "superjx"}, performance={"notes": [50, 55, 60], "keys": 2, "hold": 0.15}, store=store)
    items = Items(found)
    sound = sounds.render(items, [(1, 0)])[0]
    stems = sounds.unscaled(sound.data["stems"], sound.stems_peak).sum(0)
    mix = sounds.unscaled(sound.data["audio"], sound.peak)
    assert np.abs(stems - mix).max() < 2e-3 * np.abs(mix).max() + 12 * sound.stems_peak / sounds.FULL
    columns = sounds.latch_columns()
    assert sound.data["latch"].shape == (2, round(0.2 * sounds.LATCH_RATE), len(columns))
    assert sound.data["latch"][..., columns.index("vca_cv[0]")].max() > 0


@pytest.mark.parametrize("samples", [4096, 4111, 44_100])
def test_an_item_s_peak_level_and_audio_are_those_of_its_sound(samples):
    spec = checked(
        {
            "name": "x",
            "items": 1,
            "seconds": samples / 44_100,
            "tones": {"source": "uniform"},
            "store": {"channels": 1},
        },
        "x",
    )
    sound = np.random.default_rng(samples).normal(0, 0.1, (1, samples, 1)).astype(np.float32)
    made = sounds.stored(spec, Items(spec).plans([(0, 0)])[0], sound)
    peak = np.abs(sound).max()
    assert made.peak == peak
    assert abs(made.level - 10 * np.log10(np.mean(sound.astype(float) ** 2))) < 1e-5
    assert np.array_equal(
        made.data["audio"], np.rint(sound[0, :, 0] * np.float32(32767 / float(peak))).astype(np.int16)
    )


def test_a_sine_stands_in_its_bin_at_its_level():
    time = np.arange(44_100) / 44_100
    sine = np.sin(2 * np.pi * 861.328125 * time).astype(np.float32)  # the middle of bin 10
    seen = features.FEATURES["thesis"].of(sine, 44_100)
    assert seen[50].argmax() == 10
    assert seen[50, 10] == pytest.approx(1.0, abs=0.01)
    mel = features.FEATURES["mel"].of(sine, 44_100)
    assert mel[20].max() == pytest.approx(0.0, abs=3.0)
    assert np.sort(mel[20])[0] < -90
    assert mel.shape == features.FEATURES["mel"].shape(44_100)


def test_every_mel_band_hears_something():
    noise = np.random.default_rng(0).standard_normal(44_100).astype(np.float32)
    for rate in (44_100, 96_000):
        assert features.FEATURES["mel"].of(noise, rate).min() > -60


@pytest.mark.parametrize("rate", [44_100, 48_000, 96_000])
def test_fine_bands_tell_two_tones_ten_cents_apart(rate):
    def centre(hertz):
        sine = np.sin(2 * np.pi * hertz * np.arange(rate) / rate).astype(np.float32)
        seen = features.FEATURES["fine"].of(sine, rate)
        assert seen.shape == features.FEATURES["fine"].shape(rate)
        share = 10 ** (seen[0].astype(float) / 10)
        return (share * np.arange(len(share))).sum() / share.sum() * 1200 / features.FINE_PER_OCTAVE

    assert centre(1320 * 2 ** (10 / 1200)) - centre(1320) == pytest.approx(10, abs=4)


def test_fine_bands_of_a_short_sound_go_on_with_silence():
    sine = np.sin(2 * np.pi * 440 * np.arange(8000) / 44_100).astype(np.float32)
    seen = features.FEATURES["fine"].of(sine, 44_100)
    assert seen.shape == features.FEATURES["fine"].shape(8000) == (1, features.FINE_BANDS)
    assert -12 < seen.max() < 0


def test_a_caption_says_what_sounds():
    tone = jxemu.Tone(dco1_wave="square", dco1_range="4'", chorus=2, vcf_freq=64)
    text = caption(tuple(tone.values().values()))
    assert text.startswith("DCO-1 square 4' at 99")
    assert "DCO-2" not in text
    assert "cutoff 50" in text
    assert text.endswith("chorus 2")
