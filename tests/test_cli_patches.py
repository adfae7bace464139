"""The commands that deal in patches, parts, logs and banks."""

import os
import subprocess
import sys
from pathlib import Path

import mido
import numpy as np
import pytest
import soundfile
from commands import call
from test_cli import SONG

from jxemu import Bank, Patch, Tone
from jxemu.link import load_log
from jxemu.patch.patch import Chain
from jxemu.protocol import OFF, ON, Decoder

TONES = [Tone("SAW", mix_dco1=90), Tone("SQUARE", dco1_wave="square", mix_dco1=90, vcf_freq=60)]
PATCHES = [
    Patch("BOTH", upper_tone=0, lower_tone=1),
    Patch("PARTED", key_mode="split", upper_tone=0, lower_tone=1),
    Patch("FROM ROM", upper_tone=0, lower_tone=70),
    Patch("NOWHERE", upper_tone=40, lower_tone=1),
]


@pytest.fixture
def bank(tmp_path):
    path = tmp_path / "bank.json"
    path.write_bytes(Bank(TONES, PATCHES).encode("json")[0])
    return path


@pytest.fixture
def song(tmp_path):
    """Low note on channel 1, high note on channel 2, a program change between."""
    file = mido.MidiFile(ticks_per_beat=480)
    track = mido.MidiTrack()
    file.tracks.append(track)
    for message, ticks in (
        (mido.Message("note_on", channel=0, note=40, velocity=100), 0),
        (mido.Message("note_on", channel=1, note=80, velocity=100), 240),
        (mido.Message("note_off", channel=0, note=40), 240),
        (mido.Message("note_off", channel=1, note=80), 0),
    ):
        track.append(message.copy(time=ticks))
    file.save(tmp_path / "song.mid")
    return tmp_path / "song.mid"


def done(*words):
    result = call(*words)
    assert result.returncode == 0, result.stderr
    return result


def notes_of(log):
    return [(boards, note) for event, boards, _, note, _ in Decoder().feed(b for _, b in load_log(log)) if event == ON]


def test_a_patch_plays_on_two_boards_and_its_log_gives_the_same_sound(tmp_path, song, bank):
    out, log, again = tmp_path / "a.wav", tmp_path / "a.jxlog", tmp_path / "b.wav"
    done("render", song, "--bank", bank, "--patch", "both", "-o", out, "--jxlog", log)
    assert notes_of(log) == [(2, 40), (1, 40), (2, 80), (1, 80)]
    done("play-log", log, "-o", again)
    assert out.read_bytes() == again.read_bytes()


def test_a_split_patch_gives_each_key_to_its_half(tmp_path, song, bank):
    done("render", song, "--bank", bank, "--patch", "PARTED", "-o", tmp_path / "a.wav", "--jxlog", tmp_path / "a.jxlog")
    assert notes_of(tmp_path / "a.jxlog") == [(1, 40), (2, 80)]


def test_channels_choose_the_half(tmp_path, song, bank):
    words = ("--upper-channel", 1, "--lower-channel", 3, "--jxlog", tmp_path / "a.jxlog")
    done("render", song, "--bank", bank, "--patch", "BOTH", "-o", tmp_path / "a.wav", *words)
    assert notes_of(tmp_path / "a.jxlog") == [(2, 40)]


@pytest.mark.parametrize("stems, names", [
    ("half", ["lower", "upper"]), ("voice", [f"{half}-{n}" for half in ("lower", "upper") for n in range(1, 7)]),
])  # fmt: skip
def test_stems_add_up_to_the_mix(tmp_path, song, bank, stems, names):
    out = tmp_path / "a.wav"
    done("render", song, "--bank", bank, "--patch", "BOTH", "-o", out, "--stems", stems, "--format", "float")
    parts = [soundfile.read(tmp_path / f"a-{name}.wav")[0] for name in names]
    assert np.abs(sum(parts) - soundfile.read(out)[0]).max() < 1e-6
    assert sum(np.abs(part).max() > 1e-3 for part in parts) == (2 if stems == "half" else 4)


def test_parts_are_instruments_of_their_own(tmp_path, song, bank):
    out, log = tmp_path / "a.wav", tmp_path / "a.jxlog"
    words = ("--part", "1=SAW", "--part", "2-4=PARTED", "--machine", "superjx", "--jxlog", log, "--stems", "half")
    done("render", song, "--bank", bank, "-o", out, *words)
    assert [note for _, note in notes_of(tmp_path / "a-1.jxlog")] == [40]
    assert notes_of(tmp_path / "a-2.jxlog") == [(2, 80)]
    assert (tmp_path / "a-2-upper.wav").exists()


def test_a_key_of_no_length_ends(tmp_path, bank):
    file = mido.MidiFile()
    track = mido.MidiTrack()
    file.tracks.append(track)
    track += [mido.Message("note_on", note=60, velocity=100), mido.Message("note_off", note=60)]
    file.save(tmp_path / "zero.mid")
    done("render", tmp_path / "zero.mid", "--bank", bank, "-o", tmp_path / "a.wav")
    assert soundfile.info(tmp_path / "a.wav").duration < 5


def test_stems_of_voices_are_as_long_as_the_song_without(tmp_path, song, bank):
    for name, words in (("a.wav", ()), ("b.wav", ("--stems", "voice"))):
        done("render", song, "--bank", bank, "--patch", "BOTH", "-o", tmp_path / name, "--format", "float", *words)
    one, other = (soundfile.read(tmp_path / name)[0] for name in ("a.wav", "b.wav"))
    assert len(one) == len(other) and np.abs(one - other).max() < 1e-6


def test_a_patch_among_the_parts_brings_two_boards(tmp_path, song, bank):
    done(
        "render", song, "--bank", bank, "--part", "1-2=BOTH", "-o", tmp_path / "a.wav", "--jxlog", tmp_path / "a.jxlog"
    )
    assert {board for board, _ in notes_of(tmp_path / "a-1.jxlog")} == {1, 2}


def test_a_setting_changes_the_patch(tmp_path, song, bank):
    words = ("--set", "key_mode=split", "--set", "lower_tone=SQUARE", "--jxlog", tmp_path / "a.jxlog")
    done("render", song, "--bank", bank, "--tone", "SAW", *words, "-o", tmp_path / "a.wav")
    assert notes_of(tmp_path / "a.jxlog") == [(1, 40), (2, 80)]


def test_names_that_look_like_markup_are_names(tmp_path, song):
    path = tmp_path / "odd.json"
    path.write_bytes(Bank([Tone("[/BASS]")]).encode("json")[0])
    assert "[/BASS]" in done("sysex", "show", path, "1").stdout
    done("render", song, "--bank", path, "-o", tmp_path / "a.wav", "--seconds", "0.1")


def test_what_the_bank_does_not_have_is_said(tmp_path, song, bank):
    said = done("render", song, "--bank", bank, "--patch", "FROM ROM", "-o", tmp_path / "a.wav").stderr
    assert "uses tone 71 of the Super JX's ROM" in said and "stands in" in said
    result = call("render", song, "--bank", bank, "--patch", "NOWHERE", "-o", tmp_path / "b.wav")
    assert result.returncode == 2 and "asks for tone 41" in result.stderr and not (tmp_path / "b.wav").exists()


@pytest.mark.parametrize("words, sentence", [
    (("--tone", "SAW", "--patch", "BOTH"), "not both"), (("--part", "SAW"), "CHANNELS=NAME"),
    (("--part", "17=SAW"), "CHANNELS=NAME"), (("--part", "1=SAWW"), "near: SAW"), (("--patch", "BTH"), "near: BOTH"),
    (("--part", "1=SAW", "--upper-channel", "2"), "leave"), (("--part", "1-99999999999=SAW"), "CHANNELS=NAME"),
    (("--upper-channel", "1", "--lower-channel", "1"), "given twice"), (("--seconds", "inf"), "not a length"),
    (("--set", "key_mod=dual"), "key_mode"), (("--set", "self=1"), "no setting 'self'"), (("--tone", "\u00b2"), "no tone"), (("--cartridge", "none.rom"), "cannot read none.rom"),
])  # fmt: skip
def test_bad_wishes_get_one_sentence(tmp_path, song, bank, words, sentence):
    result = call("render", song, "--bank", bank, "-o", tmp_path / "a.wav", *words)
    assert result.returncode == 2 and sentence in result.stderr and len(result.stderr.splitlines()) == 1


def test_the_patch_chain_of_a_jx8p_file_is_played(tmp_path, song):
    chains = [Chain(tone=1, assign="unison1"), Chain(tone=0)]
    (tmp_path / "chain.syx").write_bytes(Bank(TONES, chains=chains).encode("jx8p")[0])
    log = tmp_path / "a.jxlog"
    words = ("--bank", tmp_path / "chain.syx", "--patch", "SQUARE", "--machine", "jx8p", "--jxlog", log)
    done("render", song, *words, "-o", tmp_path / "a.wav")
    assert len(notes_of(log)) == 4 and b"\x81\x20" in bytes(byte for _, byte in load_log(log))


def test_a_chain_keeps_its_own_tone_when_something_else_is_set(tmp_path, song):
    (tmp_path / "chain.syx").write_bytes(Bank(TONES, chains=[Chain(bank=2, tone=3)]).encode("jx8p")[0])
    words = ("--bank", tmp_path / "chain.syx", "--patch", "1", "-o", tmp_path / "a.wav")
    assert done("render", song, *words).stdout == done("render", song, *words, "--set", "volume=100").stdout


def test_a_chain_whose_tone_is_nowhere_is_refused(tmp_path, song):
    (tmp_path / "chain.syx").write_bytes(Bank(TONES, chains=[Chain(bank=1, tone=3)]).encode("jx8p")[0])
    said = call("render", song, "--bank", tmp_path / "chain.syx", "--patch", "1", "-o", tmp_path / "a.wav")
    assert (said.returncode, "plays tone 36, which the bank does not have" in said.stderr) == (2, True), said.stderr


def song_of(path, *messages):
    """A song of messages half a second after one another."""
    file = mido.MidiFile(ticks_per_beat=480)
    file.tracks.append(mido.MidiTrack(message.copy(time=480) for message in messages))
    file.save(path)
    return path


@pytest.mark.parametrize(("words", "program", "said"), [
    (("--tone", "SAW"), 70, "program change 71 is a preset of the JX-8P's ROM"),
    (("--patch", "BOTH", "--upper-channel", "1"), 60, "program change 61 is a tone of the Super JX's ROM"),
    (("--patch", "BOTH", "--upper-channel", "1"), 20, "the bank has nothing for program change 21"),
    (("--patch", "BOTH"), 64, ""),
])  # fmt: skip
def test_what_stands_in_for_a_program_or_is_nowhere_is_said(tmp_path, bank, words, program, said):
    cartridge = tmp_path / "cartridge.json"
    cartridge.write_bytes(Bank([Tone("C")] * 5, [Patch("CP", upper_tone=4, lower_tone=3)]).encode("json")[0])
    asked = song_of(tmp_path / "x.mid", mido.Message("program_change", program=program))
    told = done("render", asked, "--bank", bank, "--cartridge", cartridge, *words, "-o", tmp_path / "a.wav").stderr
    assert said in told if said else "program" not in told and "asks for" not in told


def test_a_song_that_the_wire_cannot_carry_is_said(tmp_path):
    bends = [mido.Message("pitchwheel", pitch=n % 8000, time=0) for n in range(0, 100_000, 128)]
    full = song_of(tmp_path / "x.mid", mido.Message("note_on", note=60), mido.Message("note_off", note=60))
    file = mido.MidiFile(full)
    file.tracks[0][1:1] = bends
    file.save(full)
    assert "up to 1." in done("render", full, "-o", tmp_path / "a.wav").stderr
    assert "the wire can carry" not in done("render", full, "-o", tmp_path / "a.wav", "--pace", "instant").stderr


def test_a_log_and_a_sound_of_one_name_are_refused(tmp_path, song):
    said = call("render", song, "-o", tmp_path / "a.wav", "--jxlog", tmp_path / "a.wav")
    assert (said.returncode, "give it another name" in said.stderr) == (2, True)


@pytest.mark.parametrize("start", ["inf", "1e300", "5"])
def test_a_start_beyond_the_log_is_refused(tmp_path, start):
    (tmp_path / "a.jxlog").write_text("jxlog 1 spacing 320\n0 FA\n")
    said = call("play-log", tmp_path / "a.jxlog", "-o", tmp_path / "a.wav", "--start", start)
    assert (said.returncode, "beyond the end of" in said.stderr) == (2, True), said.stderr


def test_a_log_that_cannot_be_written_is_said_before_the_song_is_rendered(tmp_path, song):
    said = call("render", song, "-o", tmp_path / "a.wav", "--jxlog", tmp_path / "no/a.jxlog")
    assert said.returncode == 2
    assert "no/a.jxlog: No such file or directory" in said.stderr
    assert not (tmp_path / "a.wav").exists()


def test_a_log_that_is_none_is_refused_by_line(tmp_path):
    (tmp_path / "a.jxlog").write_text("hello\n")
    result = call("play-log", tmp_path / "a.jxlog", "-o", tmp_path / "a.wav")
    assert result.returncode == 2 and "line 1: not a jxlog" in result.stderr


# --- jxemu sysex ---------------------------------------------------------------------------------


def test_a_bank_is_listed_and_its_records_shown(bank):
    listed = done("sysex", "list", bank).stdout
    assert "4 patches, 2 tones" in listed and "lower 71 (not in this file)" in listed
    assert "VCF CUTOFF FREQ" in done("sysex", "show", bank, "square").stdout
    assert "C4  (39)" in done("sysex", "show", bank, "2", "--patch").stdout


def test_a_bank_is_converted_there_and_back(tmp_path, bank):
    for name in ("a.syx", "b.json", "c.rom", "d.syx"):
        kind = ("--to", "jx8p") if name == "d.syx" else ()
        done("sysex", "convert", bank, "-o", tmp_path / name, *kind)
    sizes = [(tmp_path / name).stat().st_size for name in ("a.syx", "c.rom", "d.syx")]
    assert sizes == [10234, 2048, 156]
    assert Bank.load(tmp_path / "d.syx").tones == TONES and Bank.load(tmp_path / "a.syx").patches[:4] == PATCHES


def test_a_bank_is_taken_out_of_a_midi_file(tmp_path, bank):
    file = mido.MidiFile()
    dump = Bank.load(bank).encode("mks70")[0]
    file.tracks.append(mido.MidiTrack(mido.parse_all(dump)))
    file.save(tmp_path / "dump.mid")
    listed = call("sysex", "list", tmp_path / "dump.mid")
    assert "64 patches, 50 tones" in listed.stdout
    file.tracks[0].clear()
    file.save(tmp_path / "song.mid")
    assert "no whole JX-8P, JX-10 or MKS-70" in call("sysex", "list", tmp_path / "song.mid").stderr


def test_patch_chains_that_a_format_has_no_room_for_are_said(tmp_path):
    path = tmp_path / "chains.json"
    path.write_bytes(Bank([Tone("A")], chains=[Chain(lfo=5)]).encode("json")[0])
    said = call("sysex", "convert", path, "-o", tmp_path / "x.syx", "--to", "mks70").stdout
    assert "1 patch chains are not in it" in said
    path.write_bytes(Bank(chains=[Chain(lfo=5)]).encode("json")[0])
    empty = call("sysex", "convert", path, "-o", tmp_path / "y.syx", "--to", "mks70")
    assert empty.returncode == 2
    assert "would be empty" in empty.stderr


def test_a_file_name_that_the_terminal_cannot_show_is_no_trouble(tmp_path):
    path = os.fsdecode(os.fsencode(tmp_path) + b"/b\xe9.syx")
    Path(path).write_bytes(Bank(TONES).encode("jx8p")[0])
    command = [sys.executable, "-c", "from jxemu.app.cli import main; main()", "sysex", "list", path]
    listed = subprocess.run(command, capture_output=True, env=os.environ | {"PYTHONIOENCODING": "utf-8:strict"})
    assert listed.returncode == 0, listed.stderr
    assert rb"b\udce9.syx: 0 patches, 2 tones" in listed.stdout


def test_banks_are_merged_without_duplicates_extracted_and_compared(tmp_path, bank):
    both, one = tmp_path / "both.json", tmp_path / "one.json"
    assert "tone 'SAW' is 'SAW'" in done("sysex", "dedupe", bank, bank, "-o", both).stdout
    assert done("sysex", "diff", bank, both).stdout == "no difference\n"
    done("sysex", "extract", bank, "--patch", "PARTED", "-o", one)
    assert [tone.name for tone in Bank.load(one).tones] == ["SAW", "SQUARE"]
    result = call("sysex", "diff", bank, one)
    assert result.returncode == 1 and "patch 1 BOTH: name BOTH -> PARTED, key_mode dual -> split" in result.stdout


def test_an_unwritable_bank_leaves_nothing_behind(tmp_path, bank):
    result = call("sysex", "convert", bank, "-o", tmp_path / "nowhere" / "a.syx")
    assert result.returncode == 2 and "cannot write" in result.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bank.json"]


# --- jxemu explore -------------------------------------------------------------------------------


def test_tones_are_made_at_random_near_another_and_between_two(tmp_path, bank):
    for name in ("a.syx", "b.syx"):
        done("explore", "random", "-n", 5, "--seed", 3, "-o", tmp_path / name)
    assert (tmp_path / "a.syx").read_bytes() == (tmp_path / "b.syx").read_bytes()
    done("explore", "mutate", bank, "SAW", "--section", "vcf", "-n", 4, "-o", tmp_path / "m.syx")
    assert {tone.mix_dco1 for tone in Bank.load(tmp_path / "m.syx").tones} == {90}
    done("explore", "morph", bank, "SAW", "SQUARE", "-n", 3, "-o", tmp_path / "x.syx")
    assert [tone.vcf_freq for tone in Bank.load(tmp_path / "x.syx").tones] == [127, 94, 60]
    result = call("explore", "mutate", bank, "SAW", "--section", "filter", "-o", tmp_path / "y.syx")
    assert result.returncode == 2 and "choose from dco1" in result.stderr


def test_the_demo_song_ends_with_every_gate_off(tmp_path):
    done("render", SONG, "-o", tmp_path / "a.wav", "--jxlog", tmp_path / "a.jxlog", "--machine", "superjx")
    on = set()
    for event, boards, voice, _, _ in Decoder().feed(byte for _, byte in load_log(tmp_path / "a.jxlog")):
        if event in (ON, OFF):
            (on.add if event == ON else on.discard)((boards, voice))
    assert not on
