"""The panel's session: history, memory and what pages are told, on a player whose time the test moves."""

import asyncio

import pytest
from test_live_player import Bench, held, off, on

import jxemu
from jxemu.app import upload
from jxemu.app.recorder import Recorder
from jxemu.app.session import Library, RequestError, Session
from jxemu.live.midi import Learned, MidiError
from jxemu.patch.bank import Bank
from jxemu.patch.factory import factory_bank
from jxemu.patch.patch import Chain


class Panel(Bench):
    """A player with a session, which looks at it after every request."""

    def __init__(self, folder, kind="superjx"):
        super().__init__(kind)
        recorder = Recorder(self.player, self.said.append)
        self.session = Session(self.player, recorder, folder, None, self.said.append)
        self.assigner = self.player.machine.assigner

    def ask(self, what, **arguments):
        self.session.do({"do": what, **arguments})
        self.run(0.3)
        self.session.look()
        self.session._gesture = ("", 0.0)  # the next edit is one by itself

    def set(self, value, name="vcf_freq"):
        self.ask("set", kind="parameter", name=name, value=value, part="upper")

    @property
    def cutoff(self):
        return self.player.tones["upper"].vcf_freq


@pytest.fixture
def panel(tmp_path):
    made = Panel(tmp_path)
    made.ask("program", number=0)
    return made


def test_an_edit_before_a_comparison_is_reached_again_after_redo(panel):
    start = panel.cutoff
    for value in (11, 22):
        panel.set(value)
    for step in ("undo", "compare"):
        panel.ask(step)
    assert panel.cutoff == start
    panel.ask("redo")
    assert panel.cutoff == 22
    panel.ask("undo")
    assert panel.cutoff == 11


def test_what_is_edited_is_not_lost_by_writing_while_the_loaded_sound_is_heard(panel):
    panel.set(33)
    panel.ask("compare")
    with pytest.raises(RequestError, match="leave the comparison"):
        panel.ask("store", kind="tone", number=9)
    panel.ask("compare")
    panel.ask("store", kind="tone", number=9)
    assert panel.assigner.memory.tone(9).vcf_freq == 33


def test_a_patch_that_is_written_to_a_bank_of_tones_leaves_the_other_programs(panel):
    tones = Bank(factory_bank().tones[:32])
    panel.session.take_bank(tones.encode("jx8p")[0], "internal", "x.syx")
    panel.ask("program", number=4)
    panel.ask("store", kind="patch", number=4, name="MINE")
    names = [panel.assigner.memory.patch(n).name for n in range(32)]
    assert names == [tone.name for tone in tones.tones[:4]] + ["MINE"] + [tone.name for tone in tones.tones[5:]]


def test_a_lock_holds_what_was_set_a_moment_ago(panel):
    panel.session.do({"do": "set", "kind": "parameter", "name": "vcf_freq", "value": 5, "part": "upper"})
    panel.ask("random", locked=["vcf"])
    assert panel.cutoff == 5


def test_a_program_change_of_a_jx8p_says_where_the_tone_is_in_memory(tmp_path):
    panel = Panel(tmp_path, "jx8p")
    panel.ask("program", number=5)
    assert panel.player.patch.upper_tone == panel.player.patch.lower_tone == 5
    panel.ask("program", number=70)
    assert panel.player.patch.upper_tone == 5, "a preset has no place in memory"
    assert Chain.of(panel.player.patch, panel.assigner.program).program == 70


def test_pages_are_told_of_the_arpeggiator_and_of_programs_that_sound_alike(panel):
    assert not panel.session.look()
    panel.player.arpeggiate(mode="up")
    assert panel.session.look()
    panel.assigner.program += 1
    assert panel.session.look()


def test_an_arpeggio_that_is_switched_off_under_a_chase_patch_ends(panel):
    panel.player.play(jxemu.Event(0.0, "program", 55))
    panel.run(0.3)
    panel.player.arpeggiate(mode="up", division="1/4", tempo=60, gate=0.5)
    panel.midi(on(60))
    panel.run(0.05)
    panel.player.arpeggiate(mode="off")
    panel.midi(off(60))
    panel.run(4)
    assert not held(panel)


def test_a_folder_that_may_not_be_read_is_said(tmp_path, monkeypatch):
    def refused(*_, **__):
        raise PermissionError(13, "Permission denied")

    for name in ("exists", "read_text", "stat"):
        monkeypatch.setattr("pathlib.Path." + name, refused)
    said = []
    Library(tmp_path / "library.json", said.append)
    assert "cannot be read" in said[0]
    with pytest.raises(MidiError, match="not a map of controllers"):
        Learned(tmp_path / "controllers.json")


def test_a_page_that_is_closed_while_it_sends_is_no_fault():
    class Gone:
        async def stream(self):
            yield b"half"
            raise upload.ClientDisconnect

    assert asyncio.run(upload.body(Gone(), 100)) is None
