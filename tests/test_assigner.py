import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import jxemu
from jxemu import protocol
from jxemu.assigner import levels
from jxemu.assigner.allocator import Allocator
from jxemu.assigner.assigner import Assigner, fold
from jxemu.link import EmulatedLink
from jxemu.patch.bank import Bank
from jxemu.patch.memory import Memory
from jxemu.patch.patch import ASSIGN_MODES, KEY_MODES

ONE, TWO = (protocol.BOTH,), (protocol.LOWER, protocol.UPPER)
SETTINGS = {"upper_tone": 0, "lower_tone": 1}
BANK = Bank([jxemu.Tone("UP", vca_level=127), jxemu.Tone("LOW", vca_level=127)], [jxemu.Patch("P", **SETTINGS)])


class Bench:
    """An assigner whose bytes are kept, with what the boards make of them.

    `gates` : notes of the voices that are on, by board and voice.
    """

    def __init__(self, roles=TWO, patch=None, **options):
        self.sent = []
        options.setdefault("memory", Memory(BANK))
        self.assigner = Assigner(lambda data, at: self.sent.append((at, bytes(data))) or 0, roles, **options)
        self.assigner.boot(0)
        if patch is not None:
            self.play("patch", patch)
        self.sent.clear()
        self.gates, self._decoder, self._read = {}, protocol.Decoder(), 0

    def listen(self):
        """Let the boards hear what has been sent since."""
        for _, data in self.sent[self._read :]:
            for event, boards, voice, note, _ in self._decoder.feed(data):
                for role in (protocol.LOWER, protocol.UPPER):
                    if boards & role and event == protocol.ON:
                        self.gates[role, voice] = note
                    elif boards & role and event == protocol.OFF:
                        self.gates.pop((role, voice), None)
        self._read = len(self.sent)
        return self.gates

    def play(self, kind, data, at=0, part="control"):
        self.assigner.handle(jxemu.Event(at / 1e6, kind, data, part), at)
        return self

    @property
    def bytes(self):
        return b"".join(data for _, data in self.sent)


def patch(**settings):
    return jxemu.Patch("P", **{**SETTINGS, **settings})


def bytes_of(*events, roles=ONE, **options):
    bench = Bench(roles, **options)
    for kind, data in events:
        bench.play(kind, data)
    return bench.bytes


# --- voices --------------------------------------------------------------------------------------


def voices(strokes):
    return [stroke.voice[1] for stroke in strokes if stroke.on]


def test_poly_1_takes_voices_in_rotation_and_a_key_its_own_again():
    poly = Allocator("poly1", ONE)
    assert [voices(poly.press(key, 1)) for key in range(60, 66)] == [[n] for n in range(6)]
    poly.release(62)
    assert voices(poly.press(62, 1)) == [2]


def test_a_free_voice_is_the_one_released_longest_ago():
    poly = Allocator("poly1", ONE)
    for key in range(60, 66):
        poly.press(key, 1)
    poly.release(62), poly.release(60)
    assert voices(poly.press(70, 1)) == [2]


def test_poly_2_takes_the_lowest_voice_whose_key_is_up():
    poly = Allocator("poly2", ONE)
    poly.press(60, 1), poly.press(64, 1), poly.release(60)
    assert voices(poly.press(67, 1)) == [0]


def test_with_all_voices_taken_the_oldest_gives_way_or_the_key_is_ignored():
    for steal, taken in (("oldest", [0]), ("none", [])):
        poly = Allocator("poly1", ONE, steal)
        for key in range(60, 66):
            poly.press(key, 1)
        assert voices(poly.press(70, 1)) == taken


def test_unison_plays_pairs_and_unison_2_the_second_an_octave_lower():
    assert [voices(Allocator("unison1", ONE).press(60, 1))] == [[0, 3]]
    strokes = Allocator("unison2", ONE).press(60, 1)
    assert [stroke.interval for stroke in strokes] == [0, -12]


@pytest.mark.parametrize("priority, sounding", [("last", [60, 64, 62, 64]), ("low", [60]), ("high", [60, 64])])
def test_mono_keys_compete_by_priority_and_the_next_one_sounds_again(priority, sounding):
    mono = Allocator("mono1", ONE, priority=priority)
    strokes = [s for press in (60, 64, 62) for s in mono.press(press, 1)] + mono.release(62)
    assert [stroke.key for stroke in strokes if stroke.on] == sounding


def test_an_unknown_rule_is_refused_with_its_choices():
    with pytest.raises(ValueError, match=r"oldest.*none"):
        Allocator("poly1", ONE, steal="newest")


EXPECTED_ON_A_BOARD = {
    "poly1": [[0], [1], [2], [3]],
    "poly2": [[0], [1], [2], [3]],
    "unison1": [[0, 3], [1, 4], [2, 5], [0, 3]],
    "unison2": [[0, 3], [1, 4], [2, 5], [0, 3]],
    "mono1": [[0]] * 4,
    "mono2": [[0, 1, 2, 3, 4, 5]] * 4,
}
HALVES_OF = {
    "dual": {36: "LU", 90: "LU"}, "split": {36: "L", 90: "U"}, "whole-a": {36: "W", 90: "W"},
    "whole-b": {36: "W", 90: "W"}, "x-fade": {36: "LU", 90: "LU"}, "t-voice": {36: "U", 90: "U"},
}  # fmt: skip


@pytest.mark.parametrize("assign", ASSIGN_MODES)
@pytest.mark.parametrize("key_mode", KEY_MODES)
def test_a_scripted_performance_gets_the_documented_voices(key_mode, assign):
    """Four keys, two low and two high: which voices of which boards start for each."""
    bench = Bench(
        TWO, patch(key_mode=key_mode, upper_assign=assign, lower_assign=assign, upper_split=39, lower_split=38)
    )
    struck = {"L": 0, "U": 0, "W": 0}
    for key in (36, 40, 84, 90):
        bench.sent.clear(), bench.gates.clear()
        bench._read = 0
        bench.play("note_on", (key, 90))
        halves = HALVES_OF[key_mode][36 if key < 60 else 90]
        expected = set()
        for half in halves:
            turn = struck[half]
            struck[half] += 1
            if half == "W":
                expected |= whole_voices(assign, turn)
            else:
                role = protocol.LOWER if half == "L" else protocol.UPPER
                expected |= {(role, voice) for voice in EXPECTED_ON_A_BOARD[assign][turn]}
        assert set(bench.listen()) == expected, key


def whole_voices(assign, turn):
    """Twelve voices: the boards take turns."""
    role = TWO[turn % 2]
    if assign == "mono2":
        return {(role, voice) for role in TWO for voice in range(6)}
    if assign == "mono1":
        return {(protocol.LOWER, 0)}
    return {(role, voice) for voice in EXPECTED_ON_A_BOARD[assign][turn // 2]}


@pytest.mark.parametrize("roles", [ONE, TWO])
@pytest.mark.parametrize("assign", ASSIGN_MODES)
@pytest.mark.parametrize("key_mode", KEY_MODES)
def test_a_random_performance_leaves_no_stuck_note_and_plays_no_voice_twice(key_mode, assign, roles):
    """Some 100,000 events over all modes; every start goes to a voice that is free or whose key gives way."""
    import random

    chance = random.Random(f"{key_mode} {assign} {roles}")
    bench = Bench(roles, patch(key_mode=key_mode, upper_assign=assign, lower_assign=assign, chase=int(chance.random() < 0.5),
                               chase_mode=chance.randrange(3), chase_time=chance.randrange(8), upper_split=50,
                               lower_split=60, upper_shift=7), steal=chance.choice(("oldest", "none")),
                  priority=chance.choice(("last", "low", "high")))  # fmt: skip
    down, at = set(), 0
    for _ in range(1400):
        at += chance.randrange(0, 60_000)
        part = chance.choice(("control", "control", "upper", "lower"))
        if down and chance.random() < 0.5:
            key, part = chance.choice(sorted(down))
            down.discard((key, part))
            bench.play("note_off", key, at, part)
        else:
            key = chance.randrange(128)
            if not any(held == key for held, _ in down):
                down.add((key, part))
                bench.play("note_on", (key, chance.randrange(1, 128)), at, part)
        if chance.random() < 0.02:
            bench.play("hold", chance.choice((0, 127)), at)
        if chance.random() < 0.01:
            bench.play("setting", chance.choice((("chase_time", 9), ("chase_mode", 2), ("upper_shift", 3))), at)
        check(bench)
    for key, part in sorted(down):
        bench.play("note_off", key, at, part)
    bench.assigner.advance(at + 60_000_000)
    assert not bench.listen() and not bench.assigner.pending
    assert not any(allocator.held() for allocator in bench.assigner.allocators.values())


def check(bench):
    """Every voice that is on plays for one key that is down, and every such key has its voices on."""
    down = [unit for allocator in bench.assigner.allocators.values() for unit in allocator.units if unit.down]
    playing = [(voice if len(bench.assigner.roles) > 1 else (role, voice[1])) for unit in down for voice in unit.voices
               for role in (TWO if len(bench.assigner.roles) == 1 else [0])]  # fmt: skip
    assert len(playing) == len(set(playing)) and set(playing) == set(bench.listen())


# --- key modes -----------------------------------------------------------------------------------


def test_split_points_may_overlap_or_leave_a_gap():
    assert set(levels.shares(patch(key_mode="split", upper_split=39, lower_split=51), 66, 9)) == {"upper", "lower"}
    assert not levels.shares(patch(key_mode="split", upper_split=51, lower_split=39), 66, 9)


def test_x_fade_goes_from_the_lower_to_the_upper_tone_with_velocity():
    fades = [levels.shares(patch(key_mode="x-fade"), 60, velocity) for velocity in range(1, 128)]
    assert fades[0].keys() == {"lower"} and fades[-1] == {"upper": 127}
    upper = [fade.get("upper", 0) for fade in fades]
    lower = [fade.get("lower", 0) for fade in fades]
    assert upper == sorted(upper) and lower == sorted(lower, reverse=True)


def test_t_voice_chooses_the_tone_by_velocity():
    chosen = [levels.shares(patch(key_mode="t-voice", upper_split=80), 60, velocity) for velocity in (79, 80)]
    assert chosen == [{"lower": 79}, {"upper": 80}]


def test_the_balance_law_goes_through_the_three_known_points_and_is_concave():
    law = [levels.balanced(127, "upper", balance) for balance in range(128)]
    assert (law[50], law[64], law[77], law[127]) == (92, 105, 116, 127)
    assert levels.balanced(127, "lower", 77) == 92
    assert law == sorted(law) and all(2 * law[b] >= law[b - 20] + law[b + 20] - 1 for b in range(20, 108))


@pytest.mark.parametrize("mode, roles", [("a-b", "UL"), ("a-b-b", "ULL"), ("a-b-a", "ULU")])
def test_chase_play_strikes_the_halves_one_after_another(mode, roles):
    bench = Bench(TWO, patch(chase=1, chase_mode=mode, chase_time=0, chase_level=64))
    bench.play("note_on", (60, 100)).play("note_off", 60, 100_000)
    bench.assigner.advance(1_000_000)
    struck = [(at, data[0], data[3]) for at, data in bench.sent if data[1] & 0xF0 == protocol.VOICE_ON]
    selects = {"U": protocol.SELECT_UPPER, "L": protocol.SELECT_LOWER}
    assert struck == [(n * 10_000, selects[half], 100 if n == 0 else 50) for n, half in enumerate(roles)]
    assert not bench.listen()


@pytest.mark.parametrize("change", [("chase_mode", "a-b"), ("chase_time", 0), ("chase", 0), ("chase_level", 1)])
def test_a_chase_edit_under_a_held_key_leaves_nothing_sounding(change):
    bench = Bench(TWO, patch(chase=1, chase_mode="a-b-a", chase_time=60))
    bench.play("note_on", (60, 100)).play("setting", change, 10_000).play("note_off", 60, 20_000)
    bench.assigner.advance(60_000_000)
    assert not bench.listen()


def test_an_old_echo_does_not_end_a_key_that_was_struck_again():
    bench = Bench(TWO, patch(chase=1, chase_mode="a-b", chase_time=0))
    bench.play("note_on", (60, 100)).play("note_off", 60, 30_000).play("note_on", (60, 100), 31_000)
    bench.assigner.advance(1_000_000)
    assert len(bench.listen()) == 2


def test_a_tone_change_on_one_half_leaves_the_other_half_s_keys_alone():
    bench = Bench(TWO, patch()).play("note_on", (60, 100)).play("program", 1, part="upper").play("note_off", 60)
    assert not [place for place in bench.listen() if place[0] == protocol.LOWER]


def test_each_channel_plays_its_part():
    for part, roles in (("upper", {protocol.UPPER}), ("lower", {protocol.LOWER}), ("control", set(TWO))):
        bench = Bench(TWO, patch()).play("note_on", (60, 100), part=part)
        assert {role for role, _ in bench.listen()} == roles


def test_chromatic_shift_moves_the_notes_of_its_half():
    gates = Bench(TWO, patch(upper_shift=12, lower_shift=-24)).play("note_on", (60, 100)).listen()
    assert gates == {(protocol.LOWER, 0): 36, (protocol.UPPER, 0): 72}


# --- the wire ------------------------------------------------------------------------------------


def test_a_patch_change_is_267_bytes_and_takes_85_ms_at_real_pace():
    for pace, milliseconds in (("real", 85.44), ("instant", 0.0)):
        link = EmulatedLink(pace)
        assigner = Assigner(link.send, TWO, Memory(BANK))
        assigner.handle(jxemu.Event(0.0, "program", 0), 0)
        at, _ = link.take(1 << 40)
        assert len(at) == 267 and at[-1] / 1000 == milliseconds


def test_levels_of_a_patch_change_are_those_seen_on_a_real_one():
    bench = Bench(TWO).play("patch", patch(balance=77))
    assert b"\xf1\x9e\x5c\xf9\x9e\x74" in bench.bytes


def test_every_note_carries_its_board_select():
    assert bytes_of(("note_on", (60, 100)), ("note_off", 60)) == b"\xf4\xc0\x3c\x64\xf4\xd0\x3c\x00"
    chord = Bench(TWO, patch())
    for key in range(60, 66):
        chord.play("note_on", (key, 100))
    assert len(chord.bytes) == 48


@pytest.mark.parametrize("event, sent", [
    (("bend", 8191), b"\xbf\x7f\xb2\x7e"), (("bend", -8192), b"\xbf\x00\xb2\x7f"),
    (("hold", 1), b"\xbb\x7f"), (("hold", 0), b"\xbb\x00"), (("aftertouch", 9), b"\xb3\x09"), (("volume", 80), b"\xb1\x50"),
    (("tuning", (44, 60)), b"\xb4\x2c\xbe\x3c"), (("parameter", ("dco1_wave", "pulse")), b"\x81\x40"),
])  # fmt: skip
def test_a_controller_is_one_parameter_on_the_wire(event, sent):
    assert bytes_of(event) == b"\xf4" + sent


def test_hold_bender_and_modulation_reach_only_the_halves_that_take_them():
    settings = patch(upper_hold=0, lower_hold=1, upper_bender=1, lower_bender=0, upper_lfo=127, lower_lfo=64)
    sent = Bench(TWO, settings).play("hold", 127).play("bend", 8191).play("modulation", 100).bytes
    assert sent == bytes.fromhex("F1BB7F F9BB00 F1BF7FB200 F9BF7FB27E F1BC32 F9BC64")


@pytest.mark.parametrize("setting, sent", [
    (("portamento_time", 9), "F4B009"), (("bend_range", "12"), "F4B770"), (("after_volume", 9), "F4BA7F8E09"),
    (("balance", 77), "F19E5CF99E74"), (("dual_detune", 74), "F1B436BE36F9B42CBE2C"), (("lower_portamento", 1), "F1B57F"),
])  # fmt: skip
def test_a_patch_edit_sends_what_it_changes(setting, sent):
    assert Bench(TWO, patch()).play("setting", setting).bytes == bytes.fromhex(sent)


def test_unison_detune_is_the_distance_of_the_two_tuning_registers():
    sent = Bench(TWO).play("patch", patch(upper_assign="unison1", upper_unison_detune=70)).bytes
    assert bytes.fromhex("F9B42CBE32") in sent


@pytest.mark.parametrize("event", [("volume", 128), ("bend", 9000), ("colour", 1), ("parameter", ("vcf", 1)),
                                   ("parameter", ("vcf_freq", 128)), ("setting", ("balance", 128)), ("setting", ("x", 1))])  # fmt: skip
def test_an_event_that_does_not_fit_is_refused(event):
    with pytest.raises((ValueError, TypeError)):
        bytes_of(event)


def test_notes_outside_the_machine_s_range_are_folded_by_octaves():
    assert [fold(n) for n in (0, 20, 21, 108, 109, 127)] == [24, 32, 21, 108, 97, 103]
    assert Bench(ONE).play("note_on", (21, 1)).listen()[protocol.LOWER, 0] == 21
    assert Bench(TWO, patch()).play("note_on", (27, 1)).listen()[protocol.LOWER, 0] == 39
    assert Bench(TWO, patch()).play("note_on", (104, 1)).listen()[protocol.LOWER, 0] == 92


def test_a_program_change_takes_a_tone_and_tells_midi_out():
    sent = bytes_of(("program", 1), memory=Memory(Bank([jxemu.Tone("A"), jxemu.Tone("B", vcf_freq=2, vca_level=99)])))
    assert b"\x97\x02" in sent and b"\x9e\x63" in sent and sent.endswith(b"\xf5\xc0\x01")


def test_programs_reach_internal_memory_cartridge_and_presets():
    memory = Memory(Bank([jxemu.Tone("I")], [jxemu.Patch("IP")]), Bank([jxemu.Tone("C")], [jxemu.Patch("CP")]))
    assert (memory.jx8p_tone(0).name, memory.jx8p_tone(32).name) == ("I", "C")
    assert (memory.patch(0).name, memory.patch(64).name, memory.patch(5)) == ("IP", "CP", None)
    assert memory.jx8p_tone(64) == Memory().internal.tone(0)


def test_a_half_that_a_whole_mode_silences_keeps_its_own_tone():
    bench = Bench(TWO, patch(key_mode="whole-a"))
    bench.play("tone", jxemu.Tone("NEW"))
    bench.play("setting", ("key_mode", "dual"))
    assert [bench.assigner.tones[half].name for half in ("upper", "lower")] == ["NEW", "LOW"]


def test_a_program_for_one_half_is_the_patch_s_tone():
    bench = Bench(TWO, patch()).play("program", 1, part="upper")
    assert (bench.assigner.tones["upper"].name, bench.assigner.patch.upper_tone) == ("LOW", 1)
    bench.play("setting", ("upper_tone", 0))
    assert bench.assigner.tones["upper"].name == "UP"


def test_patches_of_a_cartridge_go_on_with_the_cartridge_s_tones():
    cartridge = Bank([jxemu.Tone("C1"), jxemu.Tone("C2")], [jxemu.Patch("CP", **SETTINGS)])
    bench = Bench(TWO, memory=Memory(BANK, cartridge)).play("program", 64)
    bench.play("setting", ("upper_tone", 1))
    assert [bench.assigner.tones[half].name for half in ("upper", "lower")] == ["C2", "C2"]


def test_a_bank_without_patches_has_one_for_each_tone_and_no_more():
    memory = Memory(Bank([jxemu.Tone("I")]), Bank([jxemu.Tone("C")]))
    assert [patch and patch.name for patch in map(memory.patch, (0, 50, 64, 65))] == ["I", None, "C", None]


def test_all_notes_off_releases_every_key():
    sent = bytes_of(("note_on", (60, 1)), ("note_on", (64, 1)), ("all_notes_off", None))
    assert sent.count(b"\xd0\x3c\x00") == sent.count(b"\xd1\x40\x00") == 1


def test_sysex_reaches_the_edit_buffers():
    from jxemu.patch import sysex

    bench = Bench(TWO, patch())
    bench.play("sysex", sysex.ipr([(34, 99)], half="lower"))
    assert bench.bytes == b"\xf1\x97\x63" and bench.assigner.tones["lower"].vcf_freq == 99
    bench.play("sysex", sysex.tone_apr(jxemu.Tone("NEW"), "upper"))
    assert bench.assigner.tones["upper"].name == "NEW"
    bench.play("sysex", sysex.ipr([(0x18, 1)], "patch"))
    assert bench.assigner.patch.plain()["key_mode"] == "split"
    sent = patch(key_mode="x-fade", bend_range="12", lower_tone=0)
    for item in sysex.messages(sysex.patch_apr(sent))[0]:
        bench.play("sysex", item.message)
    assert bench.assigner.patch == sent
    bench.play("sysex", sysex.ipr([(0x1D, 40)], "patch"))
    assert bench.assigner.patch == sent, "a tone that is nowhere changes nothing"


def test_single_parameters_are_heard_whatever_was_played_before():
    from jxemu.patch import sysex

    def edit(*pair, **options):
        bench.sent.clear()
        bench.play("sysex", sysex.ipr([pair], **options))
        return bench.bytes

    bench = Bench(ONE, memory=Memory(Bank([jxemu.Tone("A"), jxemu.Tone("B")])))
    chain = {"level": "patch", "machine": sysex.JX8P}
    bench.play("program", 1)
    assert edit(5, 64, **chain)
    assert bench.assigner.patch.upper_lfo == 64
    bench.play("setting", ("bend_range", "7"))
    assert edit(0, 0, **chain)
    assert bench.assigner.patch.plain()["bend_range"] == "2"
    edit(7, 0, **chain)
    assert bench.assigner.tones["upper"].name == "A"
    bench = Bench(TWO, patch(portamento_time=10)).play("portamento_time", 100)
    assert edit(0x16, 10, level="patch") == bytes(
        (protocol.SELECT_BOTH, *protocol.parameter(protocol.PORTAMENTO_TIME, 10))
    )


def test_names_cross_by_single_parameters():
    from jxemu.patch import sysex

    bench = Bench(TWO, patch())
    bench.play("sysex", sysex.ipr(enumerate(b"NEW NAME"), half="lower"))
    bench.play("sysex", sysex.ipr(enumerate(b"HORNS"), "patch"))
    assert (bench.assigner.tones["lower"].name, bench.assigner.patch.name) == ("NEW NAME", "HORNS")


def test_a_patch_whose_tones_are_nowhere_is_taken_and_theirs_follow():
    from jxemu.patch import sysex

    bench = Bench(TWO, patch())
    wanted = patch(upper_tone=40, lower_tone=41, key_mode="split")
    for item in sysex.messages(sysex.patch_apr(wanted) + sysex.tone_apr(jxemu.Tone("NEW"), "lower"))[0]:
        bench.play("sysex", item.message)
    assert bench.assigner.patch == wanted
    assert [tone.name for tone in bench.assigner.tones.values()] == ["UP", "NEW"]


def test_tone_numbers_of_large_files_do_not_stand_in_the_way_of_sysex():
    from jxemu.patch import sysex

    bank = Bank([jxemu.Tone("A"), jxemu.Tone("B")], tone_numbers=[133, 140])
    bench = Bench(TWO, patch(upper_tone=133, lower_tone=140), memory=Memory(bank))
    bench.play("sysex", sysex.ipr([(0x12, 99)], "patch"))
    assert (bench.assigner.patch.balance, bench.assigner.patch.upper_tone) == (99, 133)
    bench.play("sysex", bytes.fromhex("F0413D0024020107F7"))
    assert [tone.name for tone in Bank.decode(relayed(bench.bytes)).tones] == ["A", "B"]
    bench.play("sysex", sysex.messages(sysex.patch_apr(patch(upper_tone=3, lower_tone=4)))[0][-1].message)
    assert (bench.assigner.patch.upper_tone, bench.assigner.patch.lower_tone) == (3, 4)


def test_writing_to_memory_leaves_other_instruments_alone():
    from jxemu.patch import sysex
    from jxemu.patch.factory import factory_bank

    before = list(factory_bank().tones)
    bench = Bench(TWO, memory=None).play("sysex", sysex.bulk_tone(jxemu.Tone("MINE"), 0))
    assert bench.assigner.memory.tone(0).name == "MINE" and factory_bank().tones == before


def relayed(data):
    """What a board is told to pass on to MIDI OUT."""
    return bytes(byte for event, _, _, byte, _ in protocol.Decoder().feed(data) if event == protocol.RELAY)


def test_a_request_for_the_edit_buffer_is_answered_at_midi_out():
    bench = Bench(TWO, patch()).play("sysex", bytes.fromhex("F0413D0024020107F7"))
    bank = Bank.decode(relayed(bench.bytes))
    assert bank.patches == [patch()] and [tone.name for tone in bank.tones] == ["UP", "LOW"]


def test_a_cartridge_crosses_from_one_instrument_to_another():
    from jxemu.patch import handshake, sysex

    sender, receiver = Bench(TWO, memory=Memory(Bank([jxemu.Tone("MINE")]))), Bench(TWO, memory=Memory(Bank()))
    said = [handshake.message(handshake.RQF, b"\0")]
    while said:
        for bench in (sender, receiver):
            bench.sent.clear()
            for message in said:
                bench.play("sysex", message)
            said = [item.message for item in sysex.messages(relayed(bench.bytes))[0]]
    assert receiver.assigner.memory.cartridge.tones[0].name == "MINE"


@settings(max_examples=300, deadline=None)
@given(data=st.binary(max_size=80))
def test_any_sysex_message_leaves_the_assigner_in_order(data):
    bench = Bench(TWO, patch())
    bench.play("sysex", b"\xf0\x41" + bytes(byte & 0x7F for byte in data) + b"\xf7")
    bench.play("note_on", (60, 100)).play("note_off", 60)
    bench.assigner.advance(60_000_000)
    assert not bench.listen()


def test_a_saved_assigner_goes_on_as_it_would_have():
    bench = Bench(TWO, patch(chase=1, chase_time=5))
    bench.play("note_on", (60, 100))
    other = Bench(TWO)
    other.assigner.restore(bench.assigner.snapshot())
    bench.sent.clear()
    for each in (bench, other):
        each.play("note_off", 60, 50_000)
        each.assigner.advance(10_000_000)
    assert bench.bytes == other.bytes and bench.bytes
