import csv
import importlib
import math
import random
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from jxemu.patch.explore import SECTIONS, Prior, morph, mutate, random_tone, random_tones
from jxemu.patch.factory import factory_bank
from jxemu.patch.parameter import PARAMETERS
from jxemu.patch.tone import Tone

BRASS, PIANO = random_tone(1, name="BRASS"), random_tone(2, name="PIANO")


@pytest.fixture
def fit_prior(monkeypatch):
    monkeypatch.syspath_prepend(Path(__file__).parents[1] / "tools")
    return importlib.import_module("fit_prior")


def distance(a, b):
    return sum(abs(v - b.values()[name]) / PARAMETERS[name].top for name, v in a)


def test_the_sections_hold_every_parameter_once():
    assert sorted(name for names in SECTIONS.values() for name in names) == sorted(PARAMETERS)


def test_the_same_seed_gives_the_same_tone_and_another_seed_another():
    assert random_tone(7) == random_tone(7) != random_tone(8)
    assert mutate(BRASS, 7) == mutate(BRASS, 7) != mutate(BRASS, 8)
    assert mutate(random_tone(7), 7) != random_tone(7)
    assert random_tone(7, name="MINE") == random_tone(7).replace("MINE")


def test_random_tones_drawn_together_are_those_drawn_one_by_one():
    assert random_tones(range(20)) == [random_tone(seed) for seed in range(20)]
    assert random_tones([]) == []


def test_random_tones_are_legal_differ_and_have_names_that_fit():
    tones = [random_tone(seed) for seed in range(50)]
    assert len(set(tones)) == len({tone.name for tone in tones}) == 50
    for tone in tones:
        assert 0 < len(tone.name) <= 10 and tone.name.isupper()
        assert all(0 <= value <= PARAMETERS[name].top for name, value in tone)


def test_the_chances_of_each_parameter_are_above_zero_and_sum_to_one_whatever_came_before():
    prior = Prior.load()
    extremes = [{name: 0 for name in PARAMETERS}, {name: row.top for name, row in PARAMETERS.items()}]
    for values in (*extremes, BRASS.values(), PIANO.values()):
        for name in PARAMETERS:
            chances = prior.chances(name, values)
            assert chances.min() > 0 and chances.sum() == pytest.approx(1, abs=1e-12)


def test_the_chances_of_all_tones_of_a_small_machine_sum_to_one(fit_prior):
    rng = np.random.default_rng(0)
    tones = np.array([rng.integers(0, row.top + 1, 60) for row in PARAMETERS.values()]).T
    loose = {"dco1_wave", "dco2_wave", "chorus"}
    table = fit_prior.fit(tones)
    for name in set(table) - loose:
        table[name] = {"base": [1, *[0] * PARAMETERS[name].top]}
    prior, still = Prior(table), {name: 0 for name in PARAMETERS}
    every = (Tone(**still | dict(zip(loose, codes, strict=True))) for codes in
             product(*(range(PARAMETERS[name].top + 1) for name in loose)))  # fmt: skip
    assert sum(math.exp(prior.log_probability(tone)) for tone in every) == pytest.approx(1)


def test_samples_come_as_often_as_the_chances_say():
    prior, rng = Prior.load(), random.Random(0)
    samples = [prior.sample(rng) for _ in range(600)]
    for name in ("dco1_wave", "dco_xmod", "chorus", "mix_dco2", "vcf_freq", "env2_key", "env2_r"):
        expected = np.mean([prior.chances(name, values) for values in samples], 0)
        drawn = np.bincount([values[name] for values in samples], minlength=len(expected)) / len(samples)
        error = np.sqrt(expected * (1 - expected) / len(samples))
        assert np.all(abs(drawn - expected) < 5 * error + 0.01), name


def test_what_is_given_to_a_sample_stays():
    given = {"dco1_wave": 0, "env2_r": 99}
    assert Prior.load().sample(random.Random(0), given).items() >= given.items()


def test_a_prior_without_some_parameter_or_with_a_child_before_its_parent_is_refused():
    with pytest.raises(ValueError, match="chorus"):
        Prior({name: {"base": [1] * (row.top + 1)} for name, row in PARAMETERS.items() if name != "chorus"})
    table = {name: {"base": [1] * (row.top + 1)} for name, row in PARAMETERS.items()}
    table["hpf"]["tilt"] = {"chorus": np.zeros((3, 4), int).tolist()}
    with pytest.raises(ValueError, match="does not come before"):
        Prior(table)


def test_mutating_by_nothing_changes_nothing_and_by_one_leaves_nothing_of_the_faders():
    assert mutate(BRASS, 3, 0) == BRASS
    assert (
        mutate(BRASS, 3, 1).values() == mutate(PIANO, 3, 1).values() == Prior.load().sample(random.Random("mutate 3"))
    )


@pytest.mark.parametrize("sections", [["vcf"], ["dco1", "lfo"], "env2"])
def test_mutation_leaves_other_sections_alone(sections):
    free = {name for s in ([sections] if isinstance(sections, str) else sections) for name in SECTIONS[s]}
    for seed in range(10):
        changed = {name for name, value in mutate(BRASS, seed, 0.8, sections) if value != BRASS.values()[name]}
        assert changed and changed <= free


def test_a_larger_amount_moves_further():
    for seed in range(10):
        way = [distance(BRASS, mutate(BRASS, seed, amount)) for amount in (0, 0.05, 0.2, 0.5, 0.8, 1)]
        assert way == sorted(way) and way[-1] > way[2] > 0


def test_a_morph_begins_and_ends_exactly_and_goes_straight():
    assert morph(BRASS, PIANO, 0) == BRASS and morph(BRASS, PIANO, 1) == PIANO
    steps = [morph(BRASS, PIANO, x) for x in np.linspace(0, 1, 41)]
    for name, last in PIANO:
        values = [tone.values()[name] for tone in steps]
        assert values == sorted(values, reverse=last < values[0])
    middle = morph(BRASS, PIANO, 0.5)
    assert all(middle.values()[name] == v for name, v in PIANO if PARAMETERS[name].labels) and middle.name == "PIANO"


def test_a_morph_moves_only_the_sections_it_is_given_each_to_its_place():
    assert morph(BRASS, PIANO, 1, ["vcf"]) == BRASS.replace(**{n: PIANO.values()[n] for n in SECTIONS["vcf"]})
    both = morph(BRASS, PIANO, {"vcf": 1, "env1": 0.25})
    assert both == morph(morph(BRASS, PIANO, 1, ["vcf"]), PIANO, 0.25, ["env1"])
    assert morph(BRASS, PIANO, dict.fromkeys(SECTIONS, 0.4)) == morph(BRASS, PIANO, 0.4)


@pytest.mark.parametrize("wrong, sentence", [
    (lambda: mutate(BRASS, 0, 1.5), "amount cannot be 1.5; it goes from 0 to 1"),
    (lambda: mutate(BRASS, 0, sections=["vcg"]), "no section 'vcg'; choose from dco1, dco2, dco, mixer"),
    (lambda: morph(BRASS, PIANO, -0.1), "x cannot be -0.1; it goes from 0 to 1"),
    (lambda: morph(BRASS, PIANO, {"vcf": math.nan}), "x cannot be nan"),
    (lambda: morph(BRASS, PIANO, {"vcg": 1}), "no section 'vcg'"),
    (lambda: morph(BRASS, PIANO, {"vcf": 1}, ["vcf"]), "not both"),
])  # fmt: skip
def test_what_does_not_fit_is_refused_in_a_sentence(wrong, sentence):
    with pytest.raises(ValueError, match=sentence):
        wrong()


def test_the_prior_foresees_banks_it_has_not_seen_better_than_simpler_models(fit_prior, tones_table):
    nats = fit_prior.cross_validate(*fit_prior.read_tones(tones_table), count=3)
    chain = nats.pop("tilted chain")
    for name, each in nats.items():
        gain = chain - each
        assert gain.mean() > 4 * gain.std() / len(gain) ** 0.5, name


def test_random_tones_have_the_marginals_of_real_ones(fit_prior, tones_table):
    real, _ = fit_prior.read_tones(tones_table)
    made = np.array([list(random_tone(seed).values().values()) for seed in range(500)])
    for k, row in enumerate(PARAMETERS.values()):
        for value in range(row.top + 1) if row.labels else (0, row.top):
            assert abs((real[:, k] == value).mean() - (made[:, k] == value).mean()) < 0.1, row.name
        assert abs(real[:, k].mean() - made[:, k].mean()) < 0.08 * row.top, row.name


def test_the_prior_that_comes_along_is_what_the_tool_fits(fit_prior, tones_table):
    tones, banks = fit_prior.read_tones(tones_table)
    own = Prior.load()
    text = (Path(__file__).parents[1] / "jxemu" / "patch" / "prior.toml").read_text()
    assert f"{len(tones)} real tones of {len(set(banks))} banks" in text
    again = Prior(fit_prior.fit(tones))
    for tone in (BRASS, PIANO, *factory_bank().tones):
        assert own.log_probability(tone) == pytest.approx(again.log_probability(tone), abs=0.5)


def test_the_tool_writes_a_prior_that_loads(fit_prior, tmp_path):
    path, output = tmp_path / "tones.csv", tmp_path / "prior.toml"
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, ["bank", *PARAMETERS])
        writer.writeheader()
        writer.writerows({"bank": seed % 2} | random_tone(seed).values() for seed in range(30))
    app = typer.Typer()
    app.command()(fit_prior.main)
    result = CliRunner().invoke(app, [str(path), "-o", str(output), "--cross-validate"])
    assert result.exit_code == 0 and "tilted chain" in result.stdout and "30 tones" in result.stdout
    assert Prior.load(output).log_probability(BRASS) < 0
