import contextlib
import ctypes.util
import http.client
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import urllib.error
import urllib.parse
import urllib.request
import zipfile
from pathlib import Path

import numpy as np
import pytest
import websockets
from live import jack_server, offline, place_of, probe, require, wait_for
from websockets.sync.client import connect

import jxemu
import jxemu.patch.factory
from jxemu.link import load_log
from jxemu.patch.bank import Bank
from jxemu.protocol import OFF, ON, VCF_FREQ, Decoder

pytestmark = pytest.mark.live
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-background-networking",
         "--disable-component-update", "--disable-sync", "--no-first-run"]  # fmt: skip


@contextlib.contextmanager
def panel(folder, *options, audio="none", env=os.environ):
    """The instrument with its panel, if nothing else is said without a sound card; gives the panel's address and what was said."""
    said = folder / "said.txt"
    command = [str(Path(sys.executable).with_name("jxemu")), "play", "--audio", audio, "--port", "0", *options]
    env = env | {"JXEMU_HOME": str(folder / "home")}
    with said.open("w") as out:
        process = subprocess.Popen(command, env=env, stdout=out, stderr=subprocess.STDOUT, cwd=folder)
    try:
        wait_for(lambda: "MIDI in:" in said.read_text() or process.poll() is not None, 120)
        assert process.poll() is None, said.read_text()
        yield re.search(r"http://\S+", said.read_text())[0], said
        assert process.poll() is None, said.read_text()
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(30)


@pytest.fixture(scope="module")
def browser():
    require(CHROMIUM, "chromium (apt-get install chromium)")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield launched
        launched.close()


@pytest.fixture
def chromium(browser):
    """A browser whose pages are closed after the test: those left open go on looking for their instrument."""
    yield browser
    for context in browser.contexts:
        context.close()


@pytest.fixture(scope="module")
def left_alone(tmp_path_factory):
    """An instrument for all tests that only look at it."""
    with panel(tmp_path_factory.mktemp("panel"), "--tone", "SUNDAY EP", "--machine", "jx8p") as (address, _):
        yield address


@pytest.fixture
def instrument(tmp_path):
    with panel(tmp_path, "--tone", "SUNDAY EP", "--machine", "jx8p") as (address, _):
        yield address


def opened(chromium, address, **options):
    page = chromium.new_page(bypass_csp=True, **options)  # Playwright's waiting needs eval, which the page forbids
    page.faults = []
    page.on("pageerror", lambda error: page.faults.append(str(error)))
    page.on("console", lambda message: page.faults.append(message.text) if message.type == "error" else None)
    page.goto(address)
    page.wait_for_selector("#parameter-vcf_freq")
    page.wait_for_function("document.getElementById('playing').textContent.trim() !== ''")
    return page


def slide(page, name, value):
    page.eval_on_selector(
        f"#parameter-{name}",
        "(range, value) => { range.value = value; range.dispatchEvent(new Event('input', {bubbles: true})); }",
        value,
    )


def value_of(page, name):
    return int(page.input_value(f"#parameter-{name}"))


def stands_at(page, name, value):
    page.wait_for_function(
        "([id, value]) => document.getElementById(id).value === String(value)", arg=[f"parameter-{name}", value]
    )


def test_a_moved_slider_crosses_the_wire_and_changes_the_sound(chromium, tmp_path):
    log, take = tmp_path / "take.jxlog", tmp_path / "take.wav"
    bank = tmp_path / "saw.syx"
    bank.write_bytes(Bank([jxemu.Tone("SAW")]).encode("jx8p")[0])
    options = ["--machine", "jx8p", "--bank", str(bank), "--jxlog", str(log), "--record", str(take)]
    with panel(tmp_path, *options) as (address, _):
        page = opened(chromium, address)
        page.keyboard.down("a")
        page.wait_for_timeout(600)
        slide(page, "vcf_freq", 5)
        page.wait_for_timeout(600)
        page.keyboard.up("a")
        page.wait_for_timeout(300)
        assert page.faults == []
    moved = [at for at, byte in load_log(log) if byte == VCF_FREQ][-1] / 1e6
    began = float(re.search(r"from ([\d.]+) s of the log on", (tmp_path / "said.txt").read_text())[1])
    sound, change = heard(take), round((moved - began) * 48_000)
    before, after = (brightness(sound[change + at :][:8192]) for at in (-9600, 9600))
    assert after < before / 2


def heard(path):
    import soundfile

    return soundfile.read(path)[0][:, 0]


def brightness(sound):
    """Mean frequency of a sound's spectrum, in hertz."""
    size = np.abs(np.fft.rfft(sound * np.hanning(len(sound)))) ** 2
    return float(size @ np.fft.rfftfreq(len(sound), 1 / 48_000) / size.sum())


def test_a_bank_is_loaded_by_its_file_played_and_saved_back(chromium, instrument, tmp_path):
    file = tmp_path / "mine.syx"
    data = Bank([jxemu.Tone(f"MINE {n}", vcf_freq=n) for n in range(32)]).encode("jx8p")[0]
    file.write_bytes(data)
    page = opened(chromium, instrument)
    page.click("#tab-browser")
    page.set_input_files("#file", str(file))
    page.wait_for_selector("text=32 tones in internal memory")
    page.fill("#search", "mine 17")
    page.click("#rows button >> nth=0")
    page.click("#tab-tone")
    stands_at(page, "vcf_freq", 17)
    page.click("#tab-browser")
    with page.expect_download() as download:
        page.click("#downloads a:has-text('jx8p')")
    assert Path(download.value.path()).read_bytes() == data
    assert page.faults == []


def test_a_file_dropped_on_the_page_is_loaded_and_what_is_no_bank_is_named(chromium, instrument):
    drop = """([name, bytes]) => {
        const data = new DataTransfer();
        data.items.add(new File([new Uint8Array(bytes)], name));
        document.body.dispatchEvent(new DragEvent('drop', {dataTransfer: data, bubbles: true, cancelable: true}));
    }"""
    page = opened(chromium, instrument)
    page.evaluate(drop, ["one.syx", list(Bank([jxemu.Tone("DROPPED", vcf_freq=3)]).encode("jx8p")[0])])
    page.wait_for_selector("#say :text('tone DROPPED plays')")
    stands_at(page, "vcf_freq", 3)
    two = Bank([jxemu.Tone("A"), jxemu.Tone("B")]).encode("jx8p")[0]
    page.evaluate(drop, ["two.syx", list(two)])
    page.wait_for_selector("#say :text('2 tones in internal memory')")
    page.evaluate(drop, ["song.txt", list(b"this is no bank")])
    page.wait_for_selector("#say .error:has-text('song.txt: no whole JX-8P')")
    page.click("#tab-browser")
    assert page.inner_text("#count") == "2 of 2"


def test_a_sound_dropped_on_the_page_gives_tones_to_play(chromium, instrument, tmp_path):
    import soundfile

    target = jxemu.Tone("TARGET", dco1_wave="square", vcf_freq=70, env2_d=40, env2_s=20)
    soundfile.write(tmp_path / "pluck.wav", jxemu.render(target, [(57, 100, 0.0, 0.2)], 0.3), 48_000)
    drop = """async ([name, bytes]) => {
        const data = new DataTransfer();
        data.items.add(new File([new Uint8Array(bytes)], name, {type: 'audio/wav'}));
        document.body.dispatchEvent(new DragEvent('drop', {dataTransfer: data, bubbles: true, cancelable: true}));
    }"""
    page = opened(chromium, instrument)
    page.evaluate(drop, ["pluck.wav", list((tmp_path / "pluck.wav").read_bytes())])
    page.wait_for_selector("#say :text('dB from the sound')", timeout=120_000)
    found = page.locator("#matched button")
    assert found.all_inner_texts() == ["PLUCK", *(f"PLUCK {n}" for n in range(2, 9))]
    found.nth(1).click()
    page.wait_for_function("document.getElementById('tone-name').value === 'PLUCK 2'")
    assert page.faults == []
    page.evaluate(drop, ["noise.wav", [1, 2, 3]])
    page.wait_for_selector("#say .error:has-text('cannot read noise.wav')", timeout=120_000)  # a process begins for it


@pytest.mark.slow
def test_a_search_ends_with_the_page_that_asked_for_it(tmp_path):
    import soundfile

    target = jxemu.Tone("TARGET", dco1_wave="square", vcf_freq=70)
    soundfile.write(tmp_path / "pluck.wav", jxemu.render(target, [(57, 100, 0.0, 0.8)], 1.0), 48_000)
    sound = (tmp_path / "pluck.wav").read_bytes()
    with panel(tmp_path) as (address, _):
        where = urllib.parse.urlsplit(address).netloc

        def drop(patience):
            connection = http.client.HTTPConnection(where, timeout=patience)
            connection.request("POST", "/sound?name=pluck.wav", sound, {"Origin": f"http://{where}"})
            return connection

        first = drop(30)
        wait_for(lambda: drop(10).getresponse().status == 409, 20)  # one is being matched
        first.close()

        def is_taken():
            with contextlib.closing(drop(1.0)) as again, contextlib.suppress(TimeoutError):
                return again.getresponse().status != 409
            return True  # it is being matched: the one before has ended

        wait_for(is_taken, 5)


def test_a_take_is_recorded_with_its_log(chromium, tmp_path):
    with panel(tmp_path, "--machine", "jx8p") as (address, _):
        page = opened(chromium, address)
        page.click("#record")
        page.wait_for_selector("#record[aria-pressed=true]")
        page.keyboard.down("a")
        page.wait_for_timeout(500)
        page.keyboard.up("a")
        page.click("#record")
        page.click("#tab-midi")
        with page.expect_download() as download:
            page.click("#taken a:has-text('.wav')")
        assert np.abs(heard(download.value.path())).max() > 1e-3
        page.wait_for_selector("#taken a:has-text('.jxlog')")
    wav, log = sorted((tmp_path / "takes").iterdir(), key=lambda path: path.suffix, reverse=True)
    rendered = offline("jx8p", load_log(log), 60 * 48_000)
    sound = np.stack([heard(wav)] * 2, 1)
    begin = place_of(sound, np.stack([rendered[:, 0]] * 2, 1))
    assert np.array_equal(sound[:, 0], rendered[begin : begin + len(sound), 0])


def test_a_tone_is_morphed_towards_another(chromium, instrument):
    page = opened(chromium, instrument)
    other = page.eval_on_selector("#morph-to", "select => select.options[9].value")
    page.select_option("#morph-to", other)
    before = value_of(page, "vcf_freq")
    page.eval_on_selector("#morph", "range => { range.value = 100; range.dispatchEvent(new Event('change')); }")
    wanted = jxemu.patch.factory.factory_bank().tone(int(other.split()[1]))
    stands_at(page, "vcf_freq", wanted.vcf_freq)
    assert value_of(page, "env2_d") == wanted.env2_d
    page.click("#undo")
    stands_at(page, "vcf_freq", before)


def test_a_page_that_is_closed_lets_go_of_its_keys(chromium, tmp_path):
    log = tmp_path / "take.jxlog"
    with panel(tmp_path, "--machine", "jx8p", "--jxlog", str(log)) as (address, _):
        page = opened(chromium, address)
        page.keyboard.down("a")
        page.wait_for_timeout(300)
        page.close(run_before_unload=False)
        other = opened(chromium, address)
        other.wait_for_timeout(500)
    kinds = [kind for kind, *_ in Decoder().feed(byte for _, byte in load_log(log))]
    assert kinds.count(ON) == kinds.count(OFF) == 1


def test_undo_goes_back_step_by_step_and_redo_forward(chromium, instrument):
    page = opened(chromium, instrument)
    first = value_of(page, "vcf_freq")
    slide(page, "vcf_freq", 11)
    page.wait_for_timeout(1200)
    slide(page, "vcf_res", 99)
    page.wait_for_timeout(200)
    page.click("#random")
    page.wait_for_selector("#undo[aria-label='Undo, 3 steps']")
    page.click("#undo")
    stands_at(page, "vcf_res", 99)
    stands_at(page, "vcf_freq", 11)
    page.keyboard.press("Control+z")
    page.keyboard.press("Control+z")
    stands_at(page, "vcf_freq", first)
    assert page.is_disabled("#undo")
    page.keyboard.press("Control+Shift+z")
    stands_at(page, "vcf_freq", 11)


def test_locked_sections_stay_when_a_tone_is_random(chromium, instrument):
    page = opened(chromium, instrument)
    before = {name: value_of(page, name) for name in ("vcf_freq", "vcf_env", "vcf_key")}
    page.check("input.locked[value=vcf]")
    for _ in range(3):
        steps = page.get_attribute("#undo", "aria-label")
        page.click("#random")
        page.wait_for_function(
            "before => document.getElementById('undo').getAttribute('aria-label') !== before", arg=steps
        )
    assert {name: value_of(page, name) for name in before} == before


def test_compare_lets_the_loaded_sound_be_heard_and_comes_back(chromium, instrument):
    page = opened(chromium, instrument)
    first = value_of(page, "vcf_freq")
    slide(page, "vcf_freq", 5)
    page.wait_for_timeout(700)
    page.click("#compare")
    stands_at(page, "vcf_freq", first)
    assert page.get_attribute("#compare", "aria-pressed") == "true"
    page.click("#compare")
    stands_at(page, "vcf_freq", 5)


def test_a_control_is_learned_from_the_page_and_follows_its_controller(chromium, tmp_path):
    moves = tmp_path / "moves.json"
    moves.write_text(json.dumps([[480 * n, [0xB0, 74, 10 * n]] for n in range(1, 11)]))
    with jack_server(256) as env, panel(tmp_path, "--machine", "jx8p", audio="jack", env=env) as (address, _):
        page = opened(chromium, address)
        page.click("#learn")
        page.focus("#parameter-vcf_freq")
        page.keyboard.press("Enter")
        page.wait_for_selector("text=move a controller for VCF CUTOFF FREQ")
        assert (
            probe(env, "send", env["JACK_DEFAULT_SERVER"], "jxemu:midi_in", moves, tmp_path / "done.json").wait(60) == 0
        )
        page.wait_for_selector(".badge:has-text('CC 74')")
        stands_at(page, "vcf_freq", 100)
        page.click("#tab-midi")
        page.wait_for_selector("#monitor :text('control=74 value=100')", state="attached")
        page.click("text=forget")
        page.wait_for_selector(".badge", state="detached")


def test_an_edit_is_not_lost_by_comparing(chromium, instrument):
    page = opened(chromium, instrument)
    first = value_of(page, "vcf_freq")
    slide(page, "vcf_freq", 5)
    page.wait_for_selector("#undo[aria-label='Undo, 1 steps']")
    page.click("#compare")
    stands_at(page, "vcf_freq", first)
    slide(page, "vcf_res", 88)
    page.wait_for_selector("#undo[aria-label='Undo, 3 steps']")
    page.click("#undo")
    page.click("#undo")
    stands_at(page, "vcf_freq", 5)


def test_a_bank_with_no_room_in_a_format_is_saved_in_several_files(chromium, instrument):
    page = opened(chromium, instrument)
    page.click("#tab-browser")
    with page.expect_download() as download:
        page.click("#downloads a:has-text('jx8p')")
    with zipfile.ZipFile(download.value.path()) as archive:
        tones = [tone for name in archive.namelist() for tone in Bank.decode(archive.read(name)).tones]
    assert [tone.values() for tone in tones] == [tone.values() for tone in jxemu.patch.factory.factory_bank().tones]


def test_a_tone_that_is_loaded_is_the_patch_s_when_it_is_written(chromium, tmp_path):
    with panel(tmp_path, "--machine", "superjx") as (address, _):
        page = opened(chromium, address)
        page.click("#tab-browser")
        page.select_option("#kind", "tone")
        page.fill("#search", "opal")
        name = page.inner_text("#rows button >> nth=0")
        page.click("#rows button >> nth=0")
        page.click("#tab-patch")
        page.fill("#patch-number", "9")
        page.fill("#patch-name", "MINE")
        page.click("#patch-store")
        page.wait_for_selector("#say :text('patch 9 is now MINE')")
        page.click("#next")
        page.wait_for_function("() => document.getElementById('playing').textContent.startsWith('  2')")
        page.click("#tab-browser")
        page.select_option("#kind", "patch")
        page.fill("#search", "mine")
        page.click("#rows button >> nth=0")
        page.wait_for_function(
            "name => document.getElementById('half').textContent.includes(`upper: ${name}`)", arg=name
        )


def test_where_and_as_what_to_write_stays_typed_until_another_sound_plays(chromium, tmp_path):
    with panel(tmp_path, "--machine", "jx8p") as (address, _):
        one, two = opened(chromium, address), opened(chromium, address)
        for _ in range(5):
            one.click("#next")
        one.wait_for_function("document.getElementById('playing').textContent.startsWith('  6')")
        one.wait_for_function("document.getElementById('tone-number').value === '6'")
        one.fill("#tone-number", "12")
        one.fill("#tone-name", "MINE")
        one.focus("#next")
        two.check("#hold")
        one.wait_for_function("() => document.getElementById('hold').checked")
        assert (one.input_value("#tone-number"), one.input_value("#tone-name")) == ("12", "MINE")
        one.click("#tone-store")
        one.wait_for_selector("#say :text('tone 12 is now MINE')")


def test_two_pages_stay_in_step(chromium, instrument):
    one, two = opened(chromium, instrument), opened(chromium, instrument)
    slide(one, "vcf_freq", 77)
    stands_at(two, "vcf_freq", 77)
    two.check("input[name=parameter-chorus] >> nth=2")
    one.wait_for_function("document.querySelectorAll('input[name=parameter-chorus]')[2].checked")
    one.check("#hold")
    two.wait_for_function("() => document.getElementById('hold').checked")
    two.click("#panic")
    one.wait_for_function("() => !document.getElementById('hold').checked")
    one.click("#next")
    two.wait_for_function("document.getElementById('playing').textContent.startsWith('  2')")


def test_favourites_and_tags_are_found_again_after_a_restart(chromium, tmp_path):
    for visit in range(2):
        with panel(tmp_path) as (address, _):
            page = opened(chromium, address)
            page.click("#tab-browser")
            page.wait_for_selector("#rows tbody tr")
            if visit == 0:
                page.click("[aria-label='favourite SUNDAY EP']")
                page.fill("[aria-label='tags of SUNDAY EP']", "keys, soft")
                page.keyboard.press("Enter")
                page.wait_for_selector("#tag option:has-text('soft')", state="attached")
            page.check("#favourites")
            page.fill("#search", "soft")
            assert page.inner_text("#count").startswith("1 of")


@pytest.mark.parametrize(
    ("width", "scheme"),
    [
        (390, "dark"),
        (1400, "light"),
        *(
            pytest.param(*each, marks=pytest.mark.slow)
            for each in ((390, "light"), (900, "light"), (900, "dark"), (1400, "dark"))
        ),
    ],
)
def test_no_page_has_a_serious_accessibility_fault_or_is_too_wide(chromium, left_alone, scheme, width):
    from axe_playwright_python.sync_playwright import Axe

    page = opened(chromium, left_alone, viewport={"width": width, "height": 900}, color_scheme=scheme)
    for tab in ("tone", "patch", "browser", "views", "wire", "midi", "poles"):
        page.click(f"#tab-{tab}")
        page.wait_for_timeout(300)
        faults = [
            fault for fault in Axe().run(page).response["violations"] if fault["impact"] in ("serious", "critical")
        ]
        assert [(fault["id"], fault["nodes"][0]["html"]) for fault in faults] == []
        assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth"), tab
    assert page.faults == []


def test_the_panel_can_be_played_and_edited_by_keyboard_alone(chromium, instrument):
    page = opened(chromium, instrument)
    page.focus("#tab-tone")
    page.keyboard.press("ArrowRight")
    assert page.get_attribute("#tab-patch", "aria-selected") == "true"
    page.keyboard.press("Home")
    page.focus("#parameter-vcf_freq")
    before = value_of(page, "vcf_freq")
    page.keyboard.press("ArrowDown")
    stands_at(page, "vcf_freq", before - 1)
    page.focus("#piano [tabindex='0']")
    page.keyboard.press("ArrowRight")
    page.keyboard.down(" ")
    page.wait_for_selector("#piano .down[data-note='61']")
    page.keyboard.up(" ")
    page.wait_for_selector("#piano .down", state="detached")


# --- the socket and the files, as somebody else would use them ---


def ask(address, path, method="GET", data=None, **headers):
    request = urllib.request.Request(
        address + path, data, {k.replace("_", "-"): v for k, v in headers.items()}, method=method
    )
    try:
        with urllib.request.urlopen(request) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()


def test_strangers_hosts_and_origins_are_refused(left_alone):
    own = left_alone.rstrip("/")
    assert ask(left_alone, "")[0] == 200
    assert ask(left_alone, "", Host="evil.example")[0] == 403
    assert ask(left_alone, "bank?place=internal", "POST", b"x", Origin="http://evil.example")[0] == 403
    assert ask(left_alone, "bank?place=internal", "POST", b"x")[0] == 403
    assert ask(left_alone, "bank?place=internal", "POST", b"x", Origin=own)[0] == 400

    live = left_alone.replace("http", "ws") + "live"
    with connect(live, origin=own) as socket:
        assert json.loads(socket.recv())["is"] == "tables"
    with pytest.raises(websockets.WebSocketException):
        connect(live, origin="http://evil.example")


def test_the_page_may_load_nothing_from_elsewhere(left_alone):
    with urllib.request.urlopen(left_alone) as answer:
        assert "default-src 'self'" in answer.headers["Content-Security-Policy"]
        assert "media-src 'self' blob:" in answer.headers["Content-Security-Policy"]  # what the poles sound like


@pytest.mark.parametrize(
    "path",
    ["static/../panel.py", "static/%2e%2e/panel.py", "take/..%2f..%2fetc%2fpasswd", "take/said.txt", "bank/home.json"],
)
def test_no_path_leads_out_of_the_panel_s_folders(left_alone, path):
    assert ask(left_alone, path)[0] == 404


NONSENSE = [
    "", "{", "[]", "null", "7", '"x"', '{"do": 5}', '{"do": "do"}', '{"do": "__init__"}', '{"do": "explode"}',
    '{"do": "set"}', '{"do": "set", "kind": "parameter", "name": "vcf_freq", "value": "x"}',
    '{"do": "set", "kind": "parameter", "name": "vcf_freq", "value": 1e9}',
    '{"do": "set", "kind": "parameter", "name": "vcf_freq", "value": 128}',
    '{"do": "set", "kind": "parameter", "name": "vcf_freq", "value": 5, "part": "middle"}',
    '{"do": "set", "kind": "evil", "name": "vcf_freq", "value": 5}', '{"do": "set", "kind": "parameter", "name": [], "value": 5}',
    '{"do": "note", "on": true, "key": -1}', '{"do": "note", "on": true, "key": 60, "velocity": 1000}',
    '{"do": "control", "name": "self", "value": 1}', '{"do": "control", "name": "bend", "value": 99999}',
    '{"do": "program", "number": 1e400}', '{"do": "program", "number": 500}', '{"do": "load", "kind": "tone", "place": "../", "number": 0}',
    '{"do": "store", "kind": "tone", "number": -5}', '{"do": "store", "kind": "tone", "number": 1, "name": "\\u0000"}',
    '{"do": "mark", "key": "x", "favourite": 1, "tags": 3}', '{"do": "learn", "control": {"kind": "x"}}', '{"do": "learn", "control": 3}',
    '{"do": "arpeggiator", "octaves": 99}', '{"do": "arpeggiator", "mode": {}}', '{"do": "mutate", "amount": "much"}',
    '{"do": "morph", "place": "internal", "number": 0, "x": 7}', '{"do": "random", "locked": ["all"]}', '{"do": "random", "locked": 3}',
    '{"do": "arpeggiator", "octaves": 2.0}', '{"do": "step", "way": "x"}', '{"do": "program", "number": 1' + "0" * 400 + "}",
    '{"do": "watch", "views": ["__dict__"]}', '{"do": "watch", "views": 3}', '{"do": "forget"}', "[" * 50_000,
]  # fmt: skip


def test_nonsense_over_the_socket_is_answered_and_nothing_breaks(tmp_path):
    with panel(tmp_path, "--machine", "jx8p") as (address, said):
        with connect(address.replace("http", "ws") + "live", origin=address.rstrip("/")) as socket:
            for text in NONSENSE:
                socket.send(text)
            socket.send(b"\xff\x00")
            socket.send('{"do": "set", "kind": "parameter", "name": "vcf_freq", "value": 44}')
            errors, told = 0, {}
            while not (told["is"] == "state" and told["upper"]["values"]["vcf_freq"] == 44 if told else False):
                told = json.loads(socket.recv(10))
                errors += told["is"] == "error"
        assert errors == len(NONSENSE) + 1
        assert "Error" not in said.read_text()


def test_portaudio_plays_what_its_log_sounds_like(tmp_path):
    require(ctypes.util.find_library("portaudio"), "PortAudio (apt-get install libportaudio2)")
    conf, raw, log = tmp_path / "alsa.conf", tmp_path / "out.raw", tmp_path / "take.jxlog"
    conf.write_text(
        "</usr/share/alsa/alsa.conf>\npcm.!default { type null }\n"
        f'pcm.jxfile {{ type file slave.pcm null file "{raw}" format raw }}\n'
    )
    env = os.environ | {"ALSA_CONFIG_PATH": str(conf), "JACK_NO_START_SERVER": "1"}
    bank = tmp_path / "saw.syx"  # it sounds as long as its key is down: this card plays as fast as it can
    bank.write_bytes(Bank([jxemu.Tone("SAW")]).encode("jx8p")[0])
    options = "--device", "jxfile", "--machine", "jx8p", "--bank", str(bank), "--jxlog", str(log)
    with (
        panel(tmp_path, *options, audio="portaudio", env=env) as (address, _),
        connect(address.replace("http", "ws") + "live", origin=address.rstrip("/")) as socket,
    ):
        socket.send('{"do": "note", "on": true, "key": 60}')
        levels = (json.loads(socket.recv(10)).get("level", [-120])[0] for _ in range(100))
        assert any(level > -60 for level in levels)
    played = np.fromfile(raw, np.float32).reshape(-1, 2)[: 600 * 48_000]
    sounding = played[np.flatnonzero(played[:, 0])[0] :]  # the card begins with silence of its own
    rendered = offline("jx8p", load_log(log), len(played))
    begin = place_of(sounding, rendered)
    assert np.array_equal(sounding[: len(rendered) - begin], rendered[begin : begin + len(sounding)])
