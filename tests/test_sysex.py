import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_patch import tones

import jxemu
from jxemu.patch import editing, handshake, sysex
from jxemu.patch.bank import FORMATS, Bank, merged
from jxemu.patch.patch import CHAIN, PATCH, Chain, Patch
from jxemu.patch.sysex import SysexError

BYTES = {"jx8p": 78, "cartridge": 2048, "mks70": 10234}
patches = st.builds(
    lambda values, name: Patch(name, **dict(zip(PATCH, values, strict=True))),
    st.tuples(*(st.integers(row.smallest, min(row.top, 127)) for row in PATCH.values())),
    st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=18),
)
chains = st.builds(
    lambda values: Chain(**dict(zip(CHAIN, values, strict=True))),
    st.tuples(*(st.integers(row.smallest, row.top) for row in CHAIN.values())),
)


# --- patches -------------------------------------------------------------------------------------


@settings(max_examples=300, deadline=None)
@given(patch=patches)
def test_a_patch_survives_its_image_and_its_indices(patch):
    assert Patch.decode_image(patch.encode_image()) == patch
    assert Patch.decode_buffer(patch.encode_buffer()) == patch


@settings(max_examples=200, deadline=None)
@given(chain=chains)
def test_a_patch_chain_survives_its_nine_bytes(chain):
    assert Chain.decode(chain.encode()) == chain


@settings(max_examples=300, deadline=None)
@given(image=st.binary(min_size=48, max_size=48))
def test_any_memory_image_is_a_legal_patch_and_is_given_back(image):
    assert Patch.decode_image(image).encode_image() == image


@settings(max_examples=300, deadline=None)
@given(buffer=st.lists(st.integers(0, 127), min_size=53, max_size=53).map(bytes))
def test_any_indices_are_a_legal_patch_and_are_given_back(buffer):
    assert Patch.decode_buffer(buffer).encode_buffer() == buffer


# --- files ---------------------------------------------------------------------------------------


@settings(max_examples=30, deadline=None)
@given(some=st.lists(tones, min_size=1, max_size=4), others=st.lists(patches, max_size=3))
@pytest.mark.parametrize("kind", FORMATS)
def test_a_bank_survives_every_format_that_has_room_for_it(kind, some, others):
    bank = Bank(some, others if kind in ("mks70", "apr", "json") else [])
    read = Bank.decode(bank.encode(kind)[0])
    assert read.tones[: len(some)] == some
    assert read.patches[: len(bank.patches)] == bank.patches
    assert not read.skipped


def test_a_bank_that_is_too_large_becomes_several_files():
    files = Bank([jxemu.Tone(f"T{n}") for n in range(70)]).encode("jx8p")
    assert [len(data) for data in files] == [2496, 2496, 6 * 78]


def test_tones_without_patches_get_one_each_in_a_dump():
    bank = Bank.decode(Bank([jxemu.Tone("A"), jxemu.Tone("B")]).encode("mks70")[0])
    assert (
        bank.patch(1).name == "B" and bank.patch(1).plain()["key_mode"] == "whole-a" and bank.patch(1).upper_tone == 1
    )


@settings(max_examples=200, deadline=None)
@given(before=st.binary(max_size=60), tone=tones, patch=patches, after=st.binary(max_size=60))
def test_whole_messages_are_found_between_garbage(before, tone, patch, after):
    between = b"\x00\xf0\x43\x10\x01\xf7"
    stream = before + sysex.jx8p_tone(tone) + between + sysex.bulk_patch(patch, 3) + after
    found = [item.message for item in sysex.messages(stream)[0]]
    assert sysex.jx8p_tone(tone) in found and sysex.bulk_patch(patch, 3) in found


def test_what_is_skipped_is_reported_with_its_offset():
    data = Bank([jxemu.Tone("A"), jxemu.Tone("B")]).encode("jx8p")[0]
    cut = Bank.decode(data[:-40])
    assert [tone.name for tone in cut.tones] == ["A"]
    assert cut.skipped[-1].offset == 78 and "ends inside" in str(cut.skipped[-1])
    foreign = Bank.decode(b"\xf0\x43\x00\xf7" + data)
    assert len(foreign.tones) == 2 and str(foreign.skipped[0]) == "offset 0: 4 bytes skipped, not a Roland message"


def test_a_tone_whose_f7_is_missing_is_taken_and_said():
    a, b = sysex.jx8p_tone(jxemu.Tone("A")), sysex.jx8p_tone(jxemu.Tone("B"))
    bank = Bank.decode(a[:-1] + b)
    assert [tone.name for tone in bank.tones] == ["A", "B"] and "F7 is missing" in str(bank.skipped[0])


def test_any_channel_is_read_and_kept():
    data = Bank([jxemu.Tone("A")], channel=9).encode("jx8p")[0]
    assert Bank.decode(data).encode("jx8p")[0] == data


def test_single_parameters_edit_what_came_before_and_key_modes_come_before_their_patch():
    tone = sysex.jx8p_tone(jxemu.Tone("A")) + sysex.ipr([(34, 5)], machine=sysex.JX8P)
    assert Bank.decode(tone).tones[0].vcf_freq == 5
    patch = Patch("X", key_mode="x-fade", bend_range="12")
    assert Bank.decode(sysex.patch_apr(patch)).patches == [patch]


def selected(number, patch, bank, numbered=True):
    """What an MKS-70 sends when a patch is chosen: it and both its tones."""
    out = (sysex.program(number) if numbered else b"") + sysex.patch_apr(patch)
    for half in ("upper", "lower"):
        tone = getattr(patch, f"{half}_tone")
        out += (sysex.program(tone, "tone", half=half) if numbered else b"") + sysex.tone_apr(bank[tone], half)
    return out


def names_of(bank):
    """The tones of each patch."""
    return [tuple(bank.tone(n).name for n in (patch.upper_tone, patch.lower_tone)) for patch in bank.patches]


@pytest.mark.parametrize("numbered", [True, False])
def test_patches_that_were_chosen_one_after_another_keep_the_tones_they_share(numbered):
    tones = {number: jxemu.Tone(f"T{number}", vcf_freq=number) for number in (0, 1, 2, 70)}
    wanted = [(0, 1), (0, 2), (2, 1), (70, 70)]
    patches = [Patch(f"P{n}", upper_tone=a, lower_tone=b) for n, (a, b) in enumerate(wanted)]
    bank = Bank.decode(b"".join(selected(n, patch, tones, numbered) for n, patch in enumerate(patches)))
    assert bank.patches == patches
    assert names_of(bank) == [(f"T{a}", f"T{b}") for a, b in wanted]
    assert not bank.skipped


def test_a_tone_that_was_changed_between_two_patches_is_kept_beside_the_first_one():
    stream = b"".join(
        selected(n, Patch(f"P{n}", upper_tone=3, lower_tone=4), {3: jxemu.Tone(name), 4: jxemu.Tone("B")})
        for n, name in enumerate(("OLD", "NEW"))
    )
    assert names_of(Bank.decode(stream)) == [("OLD", "B"), ("NEW", "B")]


def stored(*numbers):
    """A JX-8P's write to memories."""
    return b"".join(sysex.jx8p_tone(jxemu.Tone("X"), n)[67:] for n in numbers)


def test_what_no_number_is_said_of_is_numbered_in_its_order():
    tones = Bank.decode(b"".join(sysex.jx8p_tone(jxemu.Tone(f"T{n}")) for n in range(64)))
    assert tones.tone_numbers == list(range(64))
    patches = Bank.decode(b"".join(sysex.patch_apr(Patch(f"P{n}")) for n in range(64)))
    assert patches.patch_numbers == list(range(64))


def test_a_damaged_tone_does_not_move_the_one_before_it():
    data = b"".join(sysex.jx8p_tone(jxemu.Tone(name), n) for n, name in enumerate("ABC"))
    for damaged in (data[:100] + data[101:], data[:78] + data[79:], data[:78] + b"\x00" + data[79:]):
        bank = Bank.decode(damaged)
        assert [(tone.name, n) for tone, n in zip(bank.tones, bank.tone_numbers, strict=True)] == [("A", 0), ("C", 2)]
        assert any("a tone that is not whole" in str(part) for part in bank.skipped)


def test_a_tone_is_stored_as_often_as_it_says_and_edited_afterwards_by_itself():
    tone = sysex.jx8p_tone(jxemu.Tone("A"), 0)
    twice = Bank.decode(tone + stored(7))
    assert (twice.tone_numbers, twice.tones[0]) == ([0, 7], twice.tones[1])
    edited = Bank.decode(tone + sysex.ipr([(34, 5)], machine=sysex.JX8P) + stored(3))
    assert [(edited.tone(n).name, edited.tone(n).vcf_freq) for n in (0, 3)] == [("A", 127), ("A", 5)]


def test_a_file_without_anything_is_refused_by_name(tmp_path):
    path = tmp_path / "empty.syx"
    path.write_bytes(b"\xf0\x43\x00\xf7")
    with pytest.raises(SysexError, match=r"empty.syx: no whole .*offset 0"):
        Bank.load(path)
    for text, why in (('{"format": "other"}', "not a jxemu bank in JSON"), ('{"tones": []}', "JSON, but without")):
        path.write_text(text)
        with pytest.raises(SysexError, match=why):
            Bank.load(path)


@pytest.mark.parametrize(
    "data",
    [bytes(2048), b"hello world, this is a text\n" * 74, b"\xf0\x43" + bytes(range(32, 96)) * 32, b"x" * 4096],
)
def test_files_as_long_as_a_cartridge_are_no_cartridges(data):
    data = data[:2047] + b"\xf7" if data[0] == 0xF0 else data[: len(data) // 2048 * 2048]
    assert not Bank.decode(data).tones


def test_an_eprom_of_several_cartridges_is_read():
    images = [Bank([jxemu.Tone(f"{name}{n}") for n in range(32)]).encode("cartridge")[0] for name in "ABCDEFGH"]
    bank = Bank.decode(b"".join(images))
    assert len(bank.tones) == 256
    assert (bank.tones[0].name, bank.tones[-1].name) == ("A0", "H31")


def test_tones_keep_their_places_in_a_cartridge_and_dumps_the_first_one_s_group():
    sparse = Bank([jxemu.Tone("A"), jxemu.Tone("B")], tone_numbers=[5, 2])
    image = Bank.decode(sparse.encode("cartridge")[0])
    assert (image.tones[5].name, image.tones[2].name, image.tones[0].name) == ("A", "B", "INIT TONE")
    inside, outside = (Bank([jxemu.Tone(n)], group=group).encode("mks70")[0] for n, group in (("A", 1), ("B", 2)))
    assert Bank.decode(inside + outside).group == 1


def test_unused_tones_take_the_room_that_dumps_with_patches_leave():
    tones = [jxemu.Tone(f"T{n}", vcf_freq=n) for n in range(100)]
    numbers = [*range(50), *range(128, 178)]
    used = [numbers[n // 64 * 50 + n % 10] for n in range(128)]
    patches = [Patch(f"P{n}", upper_tone=tone, lower_tone=tone) for n, tone in enumerate(used)]
    files = Bank(tones, patches, tone_numbers=numbers).encode("mks70")
    assert len(files) == 2
    assert {tone.name for data in files for tone in Bank.decode(data).tones} >= {tone.name for tone in tones}


def test_edit_buffers_of_a_bank_with_larger_numbers_become_several_files():
    bank = Bank([jxemu.Tone("A"), jxemu.Tone("B")], [Patch("P", upper_tone=133, lower_tone=0)], tone_numbers=[133, 0])
    read = Bank.decode(bank.encode("apr")[0])
    assert names_of(read) == [("A", "B")]


def test_a_name_is_what_an_instrument_can_show():
    tone = jxemu.Tone("Été\n\x7f")
    assert tone.name == "Ete??"
    assert Bank.decode(Bank([tone]).encode("json")[0]).tones == [tone]


@settings(max_examples=1000, deadline=None)
@given(soup=st.binary(max_size=400))
def test_any_bytes_are_read_without_an_exception_and_nothing_is_lost_silently(soup):
    bank = Bank.decode(soup)
    found, lost = sysex.messages(soup)
    assert sum(part.length for part in lost) + sum(len(item.message) for item in found) <= len(soup)
    assert len(bank.tones) + len(bank.patches) + len(bank.chains) + len(bank.skipped) >= len(lost)
    assert bank.skipped or not soup or found


def test_mutated_streams_raise_nothing_and_keep_their_whole_messages():
    """The short run of ``python tools/fuzz_sysex.py``, which does 100,000."""
    from fuzz_sysex import run

    run(2000, seed=1)


def test_two_dumps_in_one_file_keep_their_tones_apart():
    one, two = (Bank([jxemu.Tone(name)], [Patch(name, upper_tone=0, lower_tone=0)]) for name in "AB")
    both = Bank.decode(one.encode("mks70")[0] + two.encode("mks70")[0])
    patches = [patch for patch in both.patches if patch.name in "AB"]
    assert [both.tone(patch.upper_tone).name for patch in patches] == ["A", "B"] and len(both.tones) == 100


def test_a_hundred_tones_with_patches_become_dumps_that_hold_what_their_patches_ask_for():
    tones = [jxemu.Tone(f"T{n}", vcf_freq=n) for n in range(120)]
    for bank in (Bank(tones), Bank.decode(Bank(tones).encode("apr")[0])):
        dumps = [Bank.decode(data) for data in bank.encode("mks70")]
        named = [(p.name, dump.tone(p.upper_tone).name) for dump in dumps for p in dump.patches if p.name[0] == "T"]
        assert len(dumps) == 3 and sorted(named) == sorted((tone.name, tone.name) for tone in tones)


def test_an_edit_buffer_dump_keeps_the_numbers_of_its_tones():
    sent = handshake.answer(bytes.fromhex("F0413D0024020107F7"), Patch("P", upper_tone=7, lower_tone=3),
                            [jxemu.Tone("U"), jxemu.Tone("L")], 0)  # fmt: skip
    bank = Bank.decode(b"".join(sent))
    assert bank.tone(7).name == "U" and bank.tone(3).name == "L"


@pytest.mark.parametrize("wrong", [
    '{"format": "jxemu bank 1", "tones": [{"vcf_freq": Infinity}]}', '{"format": "jxemu bank 1", "tones": [{"number": "x"}]}',
    '{"format": "jxemu bank 1", "tones": [{"stored": "00"}]}', '{"format": "jxemu bank 1", "channel": "x"}',
    '{"format": "jxemu bank 1", "tones": 5}', '{"format": "jxemu bank 1", "tones": [{"name": "a\\u0007"}]}',
    '{"format": "jxemu bank 1", "chain_area": "00"}',
])  # fmt: skip
def test_wrong_json_is_refused_in_a_sentence(wrong):
    with pytest.raises(SysexError, match="not a jxemu bank in JSON"):
        Bank.decode(wrong.encode())


def test_a_transfer_that_breaks_off_is_reported():
    said = handshake.dump(Bank([jxemu.Tone("A")]).encode("cartridge")[0])[:-1]
    assert "breaks off after 16 blocks" in str(Bank.decode(b"".join(said)).skipped[0])


# --- real files ----------------------------------------------------------------------------------

KINDS = {"jx8p_bank_32_tones.syx": "jx8p", "jx8p_user_bank_32_tones.syx": "jx8p",
         "jx8p_cartridge_32_tones.rom": "cartridge", "mks70_bulk_64_patches_50_tones.syx": "mks70",
         "mks70_bulk_bit_mapping.syx": "mks70"}  # fmt: skip


@pytest.mark.parametrize("name", KINDS)
def test_a_real_bank_is_given_back_byte_by_byte(banks, name):
    data = (banks / name).read_bytes()
    bank = Bank.decode(data)
    assert not bank.skipped and bank.encode(KINDS[name]) == [data]
    assert Bank.decode(bank.encode("json")[0]).encode(KINDS[name]) == [data]


@pytest.mark.parametrize("name", [*KINDS, "mks70_vecoven4_bulk.syx"])
def test_names_of_a_real_bank_are_plausible(banks, name):
    bank = Bank.load(banks / name)
    assert all(record.name.isprintable() for record in [*bank.tones, *bank.patches])


FIELDS_SHOWN = [
    "upper_hold", "upper_portamento", "upper_bender", "lower_hold", "lower_portamento", "lower_bender", "chase",
    "key_mode", "key_mode", "key_mode", "key_mode", None, "chase", "chase_mode", "chase_mode", None,
    "bend_range", "bend_range", "bend_range", "bend_range",
]  # fmt: skip


def test_each_patch_of_the_bit_mapping_bank_shows_its_one_field(banks):
    """Against the first patch; chase is shown in dual mode, since it needs two tones."""
    plain, *shown = Bank.load(banks / "mks70_bulk_bit_mapping.syx").patches
    for patch, field in zip(shown, FIELDS_SHOWN, strict=False):
        changed = set(editing.differences(plain, patch)) - {"name"}
        if field and field.startswith("chase"):
            assert changed - {"chase", "key_mode", "chase_mode"} == set() and field in changed
        else:
            assert changed == ({field} if field else set())
    assert [patch.bend_range for patch in shown[15:20]] == [0, 1, 2, 3, 4]


# --- handshake and requests ----------------------------------------------------------------------


def transfer(sender, receiver, damage=()):
    """Let both talk; messages whose turn is in `damage` arrive with a flipped bit."""
    said, turn = sender.answer(receiver.request()), 0
    while said is not None:
        heard = bytearray(said)
        heard[10 if len(heard) > 10 else 5] ^= 1 if turn in damage else 0
        said, turn = sender.answer(receiver.answer(bytes(heard))), turn + 1


def test_a_cartridge_crosses_the_handshake_even_over_a_bad_line():
    image = bytes(random.Random(1).randrange(256) for _ in range(2048))
    for damage in ((), (0, 3, 8)):
        sender, receiver = handshake.Sender(image), handshake.Receiver()
        transfer(sender, receiver, damage)
        assert sender.done and receiver.done and receiver.image == image


def test_a_recorded_m_64c_transfer_has_the_size_of_real_files():
    assert len(b"".join(handshake.dump(bytes(8192)))) == 16846


def test_a_transfer_in_a_file_is_read_and_a_damaged_one_reported():
    image = Bank([jxemu.Tone("A")]).encode("cartridge")[0]
    said = handshake.dump(image)
    assert Bank.decode(b"".join(said)).tones[0].name == "A"
    said[3] = said[3][:20] + b"\x55" + said[3][21:]
    bank = Bank.decode(b"".join(said))
    assert not bank.tones and "DAT" in str(bank.skipped[0])


def test_a_rejected_transfer_says_how_far_it_came():
    with pytest.raises(handshake.TransferError, match="after 0 of 18"):
        handshake.Sender(bytes(2048)).answer(handshake.message(handshake.RJC))


def test_a_request_is_answered_with_patch_and_both_tones():
    request = bytes.fromhex("F0413D0024020107F7")
    sent = handshake.answer(request, Patch("P"), [jxemu.Tone("U"), jxemu.Tone("L")], 5)
    bank = Bank.decode(b"".join(sent))
    assert bank.patches == [Patch("P")] and bank.patch_numbers == [5]
    assert [tone.name for tone in bank.tones] == ["U", "L"] and not bank.skipped
    assert handshake.answer(b"\xf0\x41\x35\x00\x21\xf7") is None


# --- editing -------------------------------------------------------------------------------------


def test_merging_renumbers_tones_and_patches_follow():
    one = Bank([jxemu.Tone("A"), jxemu.Tone("B")], [Patch("1", upper_tone=1, lower_tone=60)])
    both = merged([one, one])
    assert [patch.upper_tone for patch in both.patches] == [1, 3] and both.patches[1].lower_tone == 60


def test_patch_chains_follow_their_tones_as_far_as_they_can_name_them():
    one = Bank(
        [jxemu.Tone(f"T{n}", vcf_freq=n) for n in range(32)], chains=[Chain(tone=3), Chain(tone=3, bank="preset1")]
    )
    three = merged([one, one, one])
    assert [chain.program for chain in three.chains] == [3, 67, 35, 67, 67]
    assert "1 patch chains" in str(three.skipped[0])
    again = [chain.program for data in merged([one, one]).encode("jx8p") for chain in Bank.decode(data).chains]
    assert again[0] == 3
    sparse = Bank(
        [jxemu.Tone("A"), jxemu.Tone("A"), jxemu.Tone("B", vcf_freq=1)], chains=[Chain(tone=1), Chain(tone=2)]
    )
    assert [chain.tone for chain in editing.deduplicated(sparse)[0].chains] == [0, 1]


def test_a_sound_stands_once_in_a_deduplicated_bank_whatever_its_name():
    bank = Bank(
        [jxemu.Tone("A"), jxemu.Tone("B"), jxemu.Tone("C", vcf_freq=1)], [Patch("P", upper_tone=1, lower_tone=2)]
    )
    clean, dropped = editing.deduplicated(bank)
    assert [tone.name for tone in clean.tones] == ["A", "C"] and dropped[0][0].name == "B"
    assert (clean.patches[0].upper_tone, clean.patches[0].lower_tone) == (0, 1)


def test_an_extracted_patch_brings_its_tones():
    bank = Bank([jxemu.Tone(n) for n in "ABC"], [Patch("P", upper_tone=2, lower_tone=1)])
    taken = editing.extracted(bank, [], [0])
    assert [taken.tone(taken.patches[0].upper_tone).name, taken.tone(taken.patches[0].lower_tone).name] == ["C", "B"]


def test_banks_are_compared_memory_by_memory():
    one, two = Bank([jxemu.Tone("A"), jxemu.Tone("B")]), Bank([jxemu.Tone("A", vcf_freq=3)])
    assert [(kind, number) for kind, number, _, _ in editing.compared(one, two)] == [("tone", 0), ("tone", 1)]
    assert editing.differences(one.tones[0], two.tones[0]) == {"vcf_freq": (127, 3)}
