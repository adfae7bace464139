import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jxemu import protocol as p

commands = st.one_of(
    st.tuples(st.integers(0x80, 0xBF), st.integers(0, 127)).map(
        lambda t: (p.parameter(*t), p.PARAMETER, t[0], t[1], 0)
    ),
    st.tuples(st.integers(0, 5), st.integers(0, 127), st.integers(0, 127)).map(
        lambda t: (p.voice_on(*t), p.ON, t[0], t[1], t[2])
    ),
    st.tuples(st.integers(0, 5), st.integers(0, 127), st.integers(0, 127)).map(
        lambda t: (p.voice_off(*t), p.OFF, t[0], t[1], t[2])
    ),
)


@settings(max_examples=10_000, deadline=None)
@given(soup=st.binary(max_size=40), select=st.sampled_from([p.LOWER, p.UPPER, p.BOTH]), command=commands)
def test_after_any_byte_soup_the_next_whole_command_is_understood(soup, select, command):
    data, kind, number, first, second = command
    decoder = p.Decoder()
    decoder.feed(soup)
    assert decoder.feed(bytes([p.SELECT_OF_ROLE[select]]) + data) == [(kind, select, number, first, second)]


@settings(max_examples=2_000, deadline=None)
@given(soup=st.binary(max_size=60), cut=st.integers(0, 60))
def test_decoding_does_not_depend_on_how_the_bytes_are_cut(soup, cut):
    whole, parts = p.Decoder(), p.Decoder()
    assert whole.feed(soup) == parts.feed(soup[:cut]) + parts.feed(soup[cut:])


@settings(max_examples=2_000, deadline=None)
@given(soup=st.binary(max_size=60))
def test_every_decoded_event_is_in_range(soup):
    for kind, boards, number, first, second in p.Decoder().feed(soup):
        assert boards in (0, p.LOWER, p.UPPER, p.BOTH)
        if kind == p.PARAMETER:
            assert 0x80 <= number <= 0xBF and 0 <= first <= 127
        elif kind in (p.ON, p.OFF):
            assert 0 <= number < 6 and 0 <= first <= 127 and 0 <= second <= 127
        else:
            assert kind == p.RELAY


def test_a_select_is_sticky():
    events = p.Decoder().feed(bytes([p.SELECT_UPPER, 0x97, 1, 0x98, 2, p.SELECT_LOWER, 0x97, 3]))
    assert [(boards, number, value) for _, boards, number, value, _ in events] == [
        (p.UPPER, 0x97, 1),
        (p.UPPER, 0x98, 2),
        (p.LOWER, 0x97, 3),
    ]


def test_forwarded_bytes_are_not_commands_and_a_select_ends_forwarding():
    events = p.Decoder().feed(p.forward(b"\xc0\x00\x90\x40\x7f") + b"\xc0\x3c\x40")
    assert [e[0] for e in events] == [p.RELAY] * 5 + [p.ON]
    assert bytes(e[3] for e in events[:5]) == b"\xc0\x00\x90\x40\x7f"


def test_a_command_byte_in_the_middle_of_a_command_begins_anew():
    assert p.Decoder().feed(b"\xf4\xc0\x3c\x97\x20") == [(p.PARAMETER, p.BOTH, 0x97, 0x20, 0)]


@pytest.mark.parametrize("byte", [0xC6, 0xCF, 0xD6, 0xDF, 0xE0, 0xEF, 0xF0, 0xF7, 0xFD, 0xFE])
def test_unknown_bytes_and_their_data_do_nothing(byte):
    assert p.Decoder().feed(bytes([p.SELECT_BOTH, byte, 1, 2, 3])) == []


def test_the_bender_sends_polarity_and_twice_the_distance():
    assert p.bender(63) == bytes([0xBF, 0x7F, 0xB2, 126])
    assert p.bender(-64) == bytes([0xBF, 0x00, 0xB2, 127])
    assert p.bender(0) == bytes([0xBF, 0x7F, 0xB2, 0])


def test_tuning_is_sent_as_a_pair():
    assert p.tuning(0x32, 0x51) == bytes([0xB4, 0x32, 0xBE, 0x51])


@pytest.mark.parametrize("wrong", [lambda: p.parameter(0x7F, 0), lambda: p.parameter(0x97, 128), lambda: p.voice_on(6, 1, 1),
                                   lambda: p.voice_off(0, -1), lambda: p.bender(64), lambda: p.forward(b"\xf5")])  # fmt: skip
def test_what_the_wire_cannot_carry_is_refused(wrong):
    with pytest.raises(ValueError):
        wrong()
