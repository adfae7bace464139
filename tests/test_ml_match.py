import subprocess
import sys

import numpy as np
import pytest
import soundfile
import soxr
from commands import call
from typer.testing import CliRunner

import jxemu
from jxemu.app.cli import app
from jxemu.ml import match
from jxemu.patch.bank import Bank, load_bank
from jxemu.patch.explore import SECTIONS
from jxemu.patch.factory import factory_bank

RATE = match.RATE
BRASS = jxemu.Tone("BRASS", dco2_wave="saw", mix_dco2=90, dco2_fine=70, vcf_freq=50, vcf_env=50, env1_d=60, env1_s=40)


def recording(tone, note=57, rate=48_000, seconds=1.0, noise_db=-50.0, seed=7):
    """What a microphone might have of another unit."""
    sound = jxemu.render(tone, [(note, 90, 0.0, 0.6)], seconds, sample_rate=rate, seed=seed)
    noise = np.random.default_rng(0).standard_normal(sound.shape) * np.abs(sound).max() * 10 ** (noise_db / 20)
    return np.concatenate([noise[: rate // 5], sound + noise])


@pytest.mark.parametrize("note", [33, 45, 60, 77, 91])
@pytest.mark.parametrize("rate", [44_100, 96_000])
def test_the_pitch_of_a_note_is_found_at_any_rate(note, rate):
    target = match.prepare(recording(BRASS, note, rate), rate)
    assert target.note == note
    assert abs(target.cents) < 25


def test_a_pitch_between_two_keys_is_told_in_cents():
    time = np.arange(RATE) / RATE
    target = match.prepare(sum(np.sin(2 * np.pi * 440 * 2 ** (0.3 / 12) * k * time) / k for k in range(1, 9)), RATE)
    assert (target.note, round(target.cents)) == (69, 30)


def test_noise_has_no_pitch_and_a_note_that_is_asked_for_is_taken():
    noise = np.random.default_rng(1).standard_normal(RATE)
    assert match.prepare(noise, RATE).cents is None
    assert match.prepare(noise, RATE).note == match.NO_PITCH
    assert match.prepare(noise, RATE, 40).note == 40


@pytest.mark.parametrize("noise_db", [-55, -40, -26])
@pytest.mark.parametrize("tone", [BRASS, BRASS.replace(name="PAD", env2_a=60)])
def test_noise_before_the_note_is_left_out(tone, noise_db):
    sound = recording(tone, noise_db=noise_db)
    noise = np.random.default_rng(1).standard_normal((96_000, 2)) * np.abs(sound).max() * 10 ** (noise_db / 20)
    target = match.prepare(np.concatenate([noise, sound]), 48_000)
    assert target.seconds == pytest.approx(1.0, abs=0.15 if tone.env2_a else 0.05)
    assert target.note == 57


NOISE = np.random.default_rng(0).standard_normal((6 * RATE, 2))
HUM = sum(np.sin(2 * np.pi * 50 * k * np.arange(6 * RATE) / RATE + k) / k for k in (1, 2, 3, 5))[:, None]


@pytest.mark.parametrize("noise", [0 * NOISE, 3e-4 * NOISE, 1e-2 * NOISE, 1e-2 * HUM + 1e-3 * NOISE])
def test_noise_after_the_note_is_left_out_but_a_long_release_is_not(noise):
    for release, seconds in ((0, 0.6), (100, match.LONGEST)):
        sound = jxemu.render(BRASS.replace(env2_r=release), [(57, 90, 0.0, 0.5)], 6.0, sample_rate=RATE)
        heard = match.prepare(sound / np.abs(sound).max() + noise, RATE)
        assert heard.seconds == pytest.approx(seconds, abs=0.35)


@pytest.mark.parametrize("noise", [0 * NOISE, 1e-3 * NOISE, 3e-3 * HUM])
def test_a_sustain_that_is_quieter_than_noise_might_be_is_kept_by_its_partials(noise):
    tone = BRASS.replace(env2_d=50, env2_s=4, env1_s=10)
    sound = jxemu.render(tone, [(45, 90, 0.0, 9.0)], 6.0, sample_rate=RATE)
    quiet = np.abs(sound[4 * RATE :]).max() / np.abs(sound).max()
    assert quiet < 0.03
    assert match.prepare(sound / np.abs(sound).max() + noise, RATE).seconds == pytest.approx(match.LONGEST, abs=0.01)


def test_hum_before_the_note_is_left_out():
    sound = jxemu.render(BRASS, [(57, 90, 0.0, 0.6)], 1.0, sample_rate=RATE)
    sound = np.pad(sound / np.abs(sound).max(), ((2 * RATE, 0), (0, 0))) + 1e-2 * HUM[: 3 * RATE]
    assert match.prepare(sound, RATE).seconds == pytest.approx(1.0, abs=0.05)


def test_a_slow_attack_that_was_cut_free_is_kept():
    sound = jxemu.render(BRASS.replace(env2_a=80), [(57, 90, 0.0, 1.0)], 1.5, sample_rate=RATE)
    whole, cut = (match.prepare(sound[begin:], RATE).seconds for begin in (0, RATE // 10))
    assert cut == pytest.approx(whole - 0.1, abs=0.05)


@pytest.mark.parametrize("noise_db", [-60, -40])
@pytest.mark.parametrize("before", [0.0, 0.3])
def test_a_tone_that_hisses_as_the_recording_does_comes_no_nearer(noise_db, before):
    time = np.arange(2 * RATE) / RATE
    tone = (np.sin(2 * np.pi * 220 * time) * np.exp(-6 * time)).astype(np.float32)
    first, second = np.random.default_rng(0).standard_normal((2, round((2 + before) * RATE))) * 10 ** (noise_db / 20)
    target = match.prepare(np.pad(tone, (round(before * RATE), 0)) + first, RATE)
    tone = np.pad(tone, (0, RATE))[: len(target.sound)]
    hissing = (tone + second[: len(tone)]).astype(np.float32)
    assert match.distance(target, tone)[0] < match.distance(target, hissing)[0] + 0.2


@pytest.mark.parametrize("rate", [8_000, 22_050, 44_100])
def test_a_recording_of_a_low_rate_tells_nothing_of_what_it_cannot_hold(rate):
    bright = jxemu.render(BRASS.replace(vcf_freq=110), [(45, 90, 0.0, 0.6)], 1.0, sample_rate=RATE)[:, 0]
    whole, low = match.prepare(bright, RATE, 45), match.prepare(soxr.resample(bright, RATE, rate), rate, 45)
    made = np.pad(whole.sound, (0, RATE))[: len(low.sound)]
    assert match.distance(low, made)[1] < 1.0


def test_channels_that_cancel_each_other_are_heard_one_by_one():
    left = recording(BRASS)[:, 0]
    mono, both = (match.prepare(sound, 48_000) for sound in (left, np.stack([left, -0.98 * left], 1)))
    assert np.allclose(both.sound, mono.sound, atol=1e-6)


def test_silence_before_the_note_is_left_out_and_long_sounds_are_cut():
    sound = recording(BRASS, seconds=6.0)
    target = match.prepare(sound, 48_000)
    assert np.abs(target.sound[: RATE // 20]).max() > 0.2
    assert target.seconds <= match.LONGEST


@pytest.mark.parametrize(
    ("sound", "why"),
    [
        (np.zeros(9999), "silent"),
        (np.arange(50.0), "too short"),
        (np.full(9999, np.nan), "no numbers"),
        (np.zeros(0), "no sound"),
        (np.array([0.0, np.inf, 1.0] * 99), "no numbers"),
    ],
)
def test_what_is_no_sound_is_refused(sound, why):
    with pytest.raises(match.MatchError, match=why):
        match.prepare(sound, RATE)


def test_a_release_is_seen_where_it_is():
    tone = BRASS.replace(env1_s=127, env2_s=127, env2_r=10)
    assert match.held(match.prepare(recording(tone), 48_000)) == pytest.approx(0.6, abs=0.08)


def test_the_same_seed_finds_the_same_tones_and_another_others():
    target = match.prepare(recording(BRASS), 48_000)
    first, again, other = (match.Search([target], renders=320, seed=seed).run() for seed in (3, 3, 4))
    assert first == again
    assert first != other


@pytest.mark.parametrize(("seconds", "renders"), [(3.0, 400), (2.0, 600), (1.0, 800)])
def test_a_search_tries_more_tones_of_a_shorter_sound(seconds, renders):
    sound = np.sin(2 * np.pi * 220 / RATE * np.arange(round(seconds * RATE)))
    assert match.Search([match.prepare(sound, RATE)]).renders == pytest.approx(renders, rel=0.01)


def test_matching_loads_neither_pytorch_nor_the_slow_parts_of_scipy():
    code = "import sys, jxemu.ml.evolution, jxemu.ml.listening, jxemu.ml.match; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert {"cma", "onnxruntime"} <= set(loaded)
    assert not {"torch", "scipy.stats", "scipy.signal"} & set(loaded)


def test_a_tone_of_a_bank_that_is_given_is_found_though_another_unit_played_it():
    tone = match._tuned(BRASS)
    target = match.prepare(recording(tone), 48_000)
    best = match.Search([target], [BRASS], renders=192).run()[0]
    blind = match.Search([target], renders=192).run()[0]
    assert best.apart < 4.0
    assert best.cost <= blind.cost + 0.5


def test_search_comes_much_nearer_than_the_pool_it_starts_from():
    target = match.prepare(recording(BRASS.replace(vcf_freq=37, vcf_res=40, env1_a=40, mix_dco1=80)), 48_000)
    pool, found = [], []
    for seed in range(3):
        seen = []
        search = match.Search([target], (), 480, seed, lambda done, apart, seen=seen: seen.append((done, apart)))
        found.append(search.run()[0].apart)
        assert search.done <= 480
        pool.append([apart for done, apart in seen if done <= 0.36 * 480][-1])
    assert np.mean(found) < 0.85 * np.mean(pool)


def test_a_section_of_another_tone_is_taken_whole_or_its_faders_half_way():
    target = match.prepare(recording(BRASS), 48_000)
    search = match.Search([target])
    other = match._tuned(jxemu.Tone("OTHER", **{name: 101 for name in match.FADERS}, lfo_wave="square"))
    search.mates, own = [other], match._tuned(BRASS)
    climb = match._Climb(search, match.Candidate(own, (0.5,), 0.0, 0.0), seed=1)
    seen = set()
    for _ in range(200):
        made, old, new = (tone.values() for tone in (climb._crossed(), own, other))
        moved = {section for section, names in SECTIONS.items() if any(made[name] != old[name] for name in names)}
        for section in moved:
            pairs = [{new[name], (old[name] + new[name]) // 2} for name in SECTIONS[section]]
            assert all(made[name] in pair for name, pair in zip(SECTIONS[section], pairs, strict=True))
        seen |= moved
    assert seen >= {"mixer", "vcf", "env1", "env2", "lfo"}


def takes(tone, keys):
    """Recordings of a tone by another unit, each with its (note, velocity), at one level."""
    return [
        (jxemu.render(tone, [(note, velocity, 0.0, 0.5)], 0.8, sample_rate=RATE, seed=7), note, velocity)
        for note, velocity in keys
    ]


def targets(tone, keys):
    return [match.prepare(sound, RATE, note, velocity) for sound, note, velocity in takes(tone, keys)]


@pytest.mark.parametrize(
    ("keys", "key_follow", "dynamics"),
    [
        ([(48, 100)], False, False),
        ([(48, 100), (72, 100)], True, False),
        ([(48, 50), (48, 110)], False, True),
        ([(48, 50), (72, 110)], True, True),
    ],
)
def test_several_notes_tell_key_follow_and_several_velocities_dynamics(keys, key_follow, dynamics):
    search = match.Search(targets(BRASS, keys))
    assert ("vcf_key" in search.faders, "env1_key" in search.keyed) == (key_follow, key_follow)
    assert ("vca_dyn" in search.keyed) == dynamics


def test_several_recordings_are_heard_as_loud_beside_each_other_as_they_were():
    tone = BRASS.replace(vca_dyn=3)
    both = targets(tone, [(57, 30), (57, 120)])
    soft, hard = (target.level for target in both)
    assert soft < 0.5 * hard
    for played, expected in ((tone, 1.0), (BRASS, soft / hard)):
        peaks = [np.abs(sounds[0]).max() for sounds in match.heard(both, [played], [(0.5, 0.5)])]
        assert peaks[1] / peaks[0] == pytest.approx(expected, rel=0.1)


def test_dynamics_and_key_follow_are_found_by_several_recordings():
    tone = match._tuned(BRASS).replace(vca_dyn=3, env2_key=3, env2_d=70, env2_s=0)
    keys = [(note, velocity) for note in (40, 64, 88) for velocity in (30, 120)]
    plain = tone.replace(vca_dyn=0, env2_key=0)
    search = match.Search(targets(tone, keys), [plain], renders=320)
    best = search.run()[0]
    assert search.done <= 320
    assert best.tone.vca_dyn == 3
    assert best.tone.env2_key in (2, 3)  # 2 with a shorter decay sounds nearly the same
    assert best.apart < 6.0  # 12.9 without both


def test_the_command_takes_several_recordings_of_a_tone(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for n, (sound, *_) in enumerate(takes(BRASS.replace(vca_dyn=3), [(45, 40), (69, 40), (69, 120)])):
        soundfile.write(f"{n}.wav", sound, RATE)
    asked = ("match", "0.wav", "1.wav", "2.wav", "-o", "horn.syx", "--renders", 160)
    result = call(*asked, *(each for velocity in (40, 40, 120) for each in ("--velocity", velocity)))
    assert result.returncode == 0, result.stderr
    assert "2.wav: 0.80 s, note 69" in result.stderr
    assert "key follow is searched, dynamics too" in result.stderr
    assert "note 45 held" in result.stdout
    assert load_bank(tmp_path / "horn.syx")[0].name == "HORN"
    written, _ = soundfile.read(tmp_path / "horn.wav")
    lengths = [match.prepare(*soundfile.read(f"{n}.wav")).sound.size for n in range(3)]
    assert len(written) == sum(lengths)
    assert (tmp_path / "horn.png").stat().st_size > 60_000
    same = call(*asked)
    assert "of one velocity only: dynamics stay off" in same.stderr
    for wrong, why in (
        (("--note", 45), "--note is given once for 3 sounds"),
        (10 * ("0.wav",), "13 sounds are too many; 12 are the most"),
        (("gone.wav",), "there is no such file"),
    ):
        refused = call(*asked, *wrong)
        assert refused.returncode == 2
        assert why in refused.stderr


def test_the_command_writes_a_tone_that_makes_what_it_says(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    soundfile.write(tmp_path / "horn.flac", recording(BRASS), 48_000)
    result = call("match", "horn.flac", "-o", "horn.syx", "--renders", 96)
    assert result.returncode == 0, result.stderr
    assert "note 57 (A3)" in result.stderr
    assert "dB from the sound" in result.stdout
    tone, *_ = load_bank(tmp_path / "horn.syx")
    others = Bank.load(tmp_path / "horn-candidates.syx").tones
    assert tone.name == "HORN"
    assert len({tuple(other.values().values()) for other in others}) > 3
    assert others[0].values() == tone.values()
    hold = float(result.stdout.split("held ")[1].split(" s")[0])
    target = match.prepare(*soundfile.read(tmp_path / "horn.flac"))
    again = match.heard([target], [tone], [(hold,)])[0][0]
    written, _ = soundfile.read(tmp_path / "horn.wav", dtype="float32")
    scale = np.abs(written).max() / np.abs(again).max()
    assert np.abs(again * scale - written)[: RATE // 2].max() < 1e-3
    assert (tmp_path / "horn.png").stat().st_size > 20_000


@pytest.mark.parametrize(
    ("name", "data", "why"),
    [
        ("gone.wav", None, "there is no such file"),
        ("bad.wav", b"nonsense", "cannot read bad.wav"),
        (".", None, "it is no file"),
    ],
)
def test_a_file_that_is_no_sound_is_one_sentence(tmp_path, monkeypatch, name, data, why):
    monkeypatch.chdir(tmp_path)
    if data:
        (tmp_path / name).write_bytes(data)
    result = call("match", name, "-o", "x.syx")
    assert result.returncode == 2
    assert why in result.stderr
    assert "Traceback" not in result.stderr
    assert not (tmp_path / "x.syx").exists()


def test_the_recording_is_never_written_over(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    soundfile.write(tmp_path / "horn.wav", recording(BRASS), 48_000)
    before = (tmp_path / "horn.wav").read_bytes()
    for output, why in (("horn.syx", "horn.wav would be written over"), (".", "must end in .syx")):
        result = call("match", "horn.wav", "-o", output)
        assert result.returncode == 2
        assert why in result.stderr
    assert (tmp_path / "horn.wav").read_bytes() == before


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (("-o", "no/such/x.syx"), "x.syx: No such file or directory"),
        (("-o", "folder.syx"), "it is not a plain file"),
        (("-o", "x.syx", "--bank", "bank.syx", "--renders", "64"), "too few to try the 64 tones of the banks"),
        (("-o", "x.syx", "--bank", "patches.syx"), "patches.syx: there are no tones in it"),
    ],
)
def test_what_cannot_be_done_is_said_before_the_search(tmp_path, monkeypatch, arguments, why):
    monkeypatch.chdir(tmp_path)
    soundfile.write(tmp_path / "horn.wav", recording(BRASS), 48_000)
    (tmp_path / "folder.syx").mkdir()
    bank = factory_bank()
    for name, part in (("bank", Bank(bank.tones)), ("patches", Bank([], bank.patches))):
        (tmp_path / f"{name}.syx").write_bytes(b"".join(part.encode("apr" if part.patches else "jx8p")))
    monkeypatch.setattr(match.Search, "run", None)
    result = CliRunner().invoke(app, ["match", "horn.wav", *arguments])
    assert result.exit_code == 2
    assert why in result.stderr
    assert not list(tmp_path.glob(".x*"))


def test_tones_of_a_bank_are_all_tried_and_others_beside():
    target = match.prepare(recording(BRASS), 48_000)
    bank = [BRASS.replace(vcf_freq=n) for n in range(40)]
    search = match.Search([target], bank, renders=160)
    search.run()
    tried = {tone.vcf_freq for tone in search.found if tone.name == "BRASS" and tone.env1_d == 60}
    assert tried >= set(range(40))
    assert len({tone.name for tone in search.found}) > 3
    assert match.Search([target], bank).renders == match.allowed([target]) + 40


def test_a_tone_that_is_hidden_is_not_among_those_that_a_search_begins_with():
    factory = factory_bank().tones[5]
    target = match.prepare(recording(factory), 48_000)
    pools = []
    for hidden in ([], [factory.replace("OTHER NAME")]):
        search = match.Search([target], renders=320, hidden=hidden)
        search._pool()
        pools.append(set(search.found))
    assert pools[0] - pools[1] == {match._tuned(factory)}
