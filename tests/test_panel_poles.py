import io
import json

import numpy as np
import pytest
from test_panel import ask, browser, chromium, opened, panel, wait_for  # noqa: F401 - fixtures
from test_panel import pytestmark as live

pytestmark = live
RATE = 8000


@pytest.fixture(scope="module")
def bell(tmp_path_factory):
    """A tone of 440 Hz that dies away, and a little of one at 1,500 Hz."""
    import soundfile

    t = np.arange(RATE // 2) / RATE
    sound = 0.6 * np.exp(-6 * t) * np.sin(2 * np.pi * 440 * t) + 0.1 * np.exp(-20 * t) * np.sin(2 * np.pi * 1500 * t)
    path = tmp_path_factory.mktemp("sounds") / "bell.wav"
    soundfile.write(path, sound + 1e-4 * np.random.default_rng(1).standard_normal(len(t)), RATE)
    return path


@pytest.fixture(scope="module")
def bench(tmp_path_factory):
    """An instrument for all tests of the bell, so that it is learned once."""
    with panel(tmp_path_factory.mktemp("bench"), "--machine", "jx8p") as (address, _):
        yield address


def learned(chromium, address, bell):  # noqa: F811
    page = opened(chromium, address, viewport={"width": 1400, "height": 1400})
    page.click("#tab-poles")
    if "bell" not in json.loads(ask(address, "poles")[1]):  # else the page shows it by itself, as the first of its list
        page.set_input_files("#poles-file", str(bell))
    page.wait_for_selector("#poles-work", timeout=120_000)
    assert page.input_value("#poles-name") == "bell"
    return page


def peak(sound):
    """Frequency of the loudest partial of a WAV file's bytes, in hertz."""
    import soundfile

    data, rate = soundfile.read(io.BytesIO(sound))
    size = np.abs(np.fft.rfft(data[: rate // 4] * np.hanning(rate // 4), 1 << 16))
    return float(np.argmax(size) * rate / (1 << 16))


def sound_of(address, answer):
    """The WAV file that the page was answered with: asked for again, since the page has taken its bytes."""
    path, told = answer.url.removeprefix(address), answer.request.post_data_buffer
    return ask(address, path, "POST", told, Origin=address.rstrip("/"))[1]


def nearest(page, hertz):
    """Number of the pole nearest to a frequency that rings longest."""
    rows = page.eval_on_selector_all("#pole option", "options => options.map((option) => option.textContent)")
    found = [row.split(": ")[1].split(", ") for row in rows]
    near = [n for n, (where, _) in enumerate(found) if abs(float(where.split()[0]) - hertz) < 40]
    return max(near, key=lambda n: 1e9 if found[n][1] == "grows" else float(found[n][1].split()[0]))


def test_a_pole_that_is_moved_moves_what_is_heard(chromium, bench, bell):  # noqa: F811
    page = learned(chromium, bench, bell)
    with page.expect_response("**/poles/bell/sound"):
        page.uncheck("#poles-hidden")
    page.select_option("#pole", str(nearest(page, 440)))
    with page.expect_response("**/poles/bell/sound") as heard:
        page.fill("#pole-hertz", "660")
        page.press("#pole-hertz", "Enter")
    assert abs(peak(sound_of(bench, heard.value)) / 660 - 1) < 0.01

    with page.expect_response("**/poles/bell/sound") as heard:
        page.click("#poles-reset")
    assert abs(peak(sound_of(bench, heard.value)) / 440 - 1) < 0.01

    page.fill("#poles-pitch", "0.8")
    with page.expect_response("**/poles/bell/sound") as heard:
        page.click("#poles-apply")
    assert abs(peak(sound_of(bench, heard.value)) / 352 - 1) < 0.01
    page.fill("#poles-pitch", "")  # what is empty moves nothing
    with page.expect_response("**/poles/bell/sound") as heard:
        page.click("#poles-apply")
    assert abs(peak(sound_of(bench, heard.value)) / 352 - 1) < 0.01
    page.click("#tab-tone")
    page.click("#tab-poles")  # what was moved is still moved
    assert abs(float(page.input_value("#pole-hertz")) / 352 - 1) < 0.02
    assert page.locator("#say .error").all_inner_texts() == []
    assert page.faults == []


def test_a_sound_that_a_newer_one_replaces_before_it_plays_is_no_error(chromium, bench, bell):  # noqa: F811
    page = learned(chromium, bench, bell)
    with page.expect_response("**/poles/bell/sound"):
        page.evaluate("for (let n = 0; n < 8; n += 1) document.getElementById('poles-original').click()")
    page.wait_for_timeout(500)
    assert page.locator("#say .error").all_inner_texts() == []


def test_a_pole_is_dragged_and_kept_under_a_new_name(chromium, bench, bell):  # noqa: F811
    page = learned(chromium, bench, bell)
    number = nearest(page, 440)
    box = page.locator(f"#plane [data-pole='{number}']").bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.mouse.down()
    page.mouse.move(box["x"] - 120, box["y"] + 30, steps=4)
    with page.expect_response("**/poles/bell/sound"):
        page.mouse.up()
    assert page.evaluate("String(getSelection())") == ""
    moved = float(page.input_value("#pole-hertz"))
    assert moved > 600
    page.click("#poles-keep")
    page.wait_for_function("document.getElementById('poles-name').value === 'bell moved'")
    there = json.loads(ask(bench, "poles/bell%20moved")[1])
    hertz = [np.angle(complex(*pole)) * there["rate"] / (2 * np.pi) for pole in there["pairs"]]
    assert min(abs(each - moved) for each in hertz) < 1
    assert page.faults == []
    page.wait_for_function("document.getElementById('poles-as').value === 'bell moved moved'")  # all of it is shown
    page.fill("#poles-as", "bell")
    page.click("#poles-keep")
    page.wait_for_selector("#say .error:has-text('there is a')")


def test_the_last_of_two_chosen_sounds_is_shown_though_the_first_is_answered_later(chromium, bench, bell):  # noqa: F811
    page = learned(chromium, bench, bell)
    poles = json.loads(ask(bench, "poles/bell")[1])
    held = []
    page.route("**/poles/slow", lambda route: held.append(route))
    page.route("**/poles/quick", lambda route: route.fulfill(json=poles | {"pairs": poles["pairs"][:1]}))
    page.evaluate(
        "for (const name of ['slow', 'quick']) document.getElementById('poles-name').append(new Option(name))"
    )
    page.select_option("#poles-name", "slow")
    page.select_option("#poles-name", "quick")
    page.wait_for_function("document.getElementById('poles-as').value === 'quick moved'")
    with page.expect_response("**/poles/slow"):
        held[0].fulfill(json=poles)
    page.wait_for_timeout(200)
    assert page.input_value("#poles-as") == "quick moved"
    assert page.locator("#pole option").count() == 1


def test_what_cannot_be_learned_or_moved_is_said_in_a_sentence(bench):
    own = {"Origin": bench.rstrip("/")}
    assert ask(bench, "poles?name=text.wav", "POST", b"no sound", **own) == (400, b"text.wav is not a sound file")
    assert ask(bench, "poles/..%2f..%2fetc", "GET")[0] in (400, 404)
    assert ask(bench, "poles/x/edit", "POST", b"[" * 70_000, **own)[0] == 413
    status, said = ask(bench, "poles/nothing/sound", "POST", json.dumps({"real": [], "pairs": []}).encode(), **own)
    assert (status, said) == (400, b"there is no sound 'nothing' here")


def test_learning_ends_with_the_page_that_asked_for_it(chromium, tmp_path, bell):  # noqa: F811
    with panel(tmp_path, "--machine", "jx8p") as (address, said):
        page = opened(chromium, address)
        page.click("#tab-poles")
        page.set_input_files("#poles-file", str(bell))
        page.wait_for_timeout(800)
        page.close()
        wait_for(lambda: "learning is given up" in said.read_text(), 30)
        assert json.loads(ask(address, "poles")[1]) == []
