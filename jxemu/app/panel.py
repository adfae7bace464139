"""The panel: a page on a local address, and a live connection of each browser that has it open.

The page and everything on it is in `static`; nothing is fetched from elsewhere. Browsers say what
they want done (`session`), and are told what is: state when it changes, meters and views as they go.
"""

import asyncio
import contextlib
import ipaddress
import json
import socket
import threading
import time
from collections import deque
from itertools import islice, pairwise
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import uvicorn
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import FileResponse, PlainTextResponse, Response
from starlette.routing import Mount, Route, WebSocketRoute
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from starlette.websockets import WebSocket, WebSocketDisconnect

from jxemu.app.files import say
from jxemu.app.home import home
from jxemu.app.matching import LARGEST_SOUND, MatchingError, matched
from jxemu.app.poles import PolesPage
from jxemu.app.recorder import Recorder
from jxemu.app.session import LARGEST_UPLOAD, RequestError, Session
from jxemu.app.upload import GivenUpError, awaited, body
from jxemu.app.wire import WireWords
from jxemu.app.words import midi_words, parameter_words, setting_words
from jxemu.live.arpeggiator import DIVISIONS, MODES
from jxemu.live.player import Player
from jxemu.patch.bank import FORMATS
from jxemu.patch.explore import SECTIONS
from jxemu.patch.parameter import PARAMETERS
from jxemu.patch.patch import PATCH
from jxemu.soundboard.vcf import response

STATIC = Path(__file__).with_name("static")
LOOPBACK = ("localhost", "127.0.0.1", "::1")
VIEWS = ("scope", "spectrum", "machine", "wire", "latch", "monitor")
TURN = 0.04
"""Seconds between looks at the instrument."""

LONGEST_REQUEST = 1 << 16
MOST_REQUESTS = 400
"""A second, of one browser; more have to wait."""

MOST_WAITING = 200
"""Messages that may wait for a slow browser; views are left out before."""

_SCOPE, _SPECTRUM, _BANDS = 2048, 8192, 160
_MOST_ROWS, _MOST_BYTES = 60, 2048
_RESPONSE_HZ = np.geomspace(20, 20_000, 96)
_SECURITY = {
    "Content-Security-Policy": "default-src 'self'; img-src 'self' data:; media-src 'self' blob:; frame-ancestors 'none'; base-uri 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}


def tables() -> dict[str, Any]:
    """What the page is built from: every control with its range and the words of its values."""
    sections = {name: section for section, names in SECTIONS.items() for name in names}
    parameters = [
        {
            "name": name, "text": row.text, "panel": row.panel, "section": sections[name], "labels": list(row.labels),
            "low": 0, "top": row.top, "words": [parameter_words(name, value) for value in range(row.top + 1)],
        }
        for name, row in sorted(PARAMETERS.items(), key=lambda item: item[1].panel)
    ]  # fmt: skip
    settings = [
        {
            "name": name, "text": name.replace("_", " "), "labels": list(row.labels), "low": row.smallest,
            "top": min(row.top, 127),
            "words": [setting_words(name, value) for value in range(row.smallest, min(row.top, 127) + 1)],
        }
        for name, row in PATCH.items()
    ]  # fmt: skip
    return {
        "is": "tables",
        "parameters": parameters,
        "settings": settings,
        "sections": list(SECTIONS),
        "formats": list(FORMATS),
        "arpeggiator": {"mode": list(MODES), "division": list(DIVISIONS)},
    }


class Guard:
    """Lets in only requests that name this computer as their host, and writes only from the panel's own page."""

    def __init__(self, app: ASGIApp, hosts: tuple[str, ...]):
        self.app, self.hosts = app, hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or refuse it."""
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        headers = {key.decode("latin-1"): value.decode("latin-1") for key, value in scope["headers"]}
        why = self._refusal(scope, headers)
        if why is None:
            await self.app(scope, receive, _secured(send))
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 4403, "reason": why})
        else:
            await PlainTextResponse(why, 403)(scope, receive, send)

    def _refusal(self, scope: Scope, headers: dict[str, str]) -> str | None:
        host = headers.get("host", "")
        with contextlib.suppress(ValueError):
            if _is_here(urlsplit(f"//{host}").hostname or "", self.hosts):
                if scope["type"] == "http" and scope["method"] in ("GET", "HEAD"):
                    return None
                origin = urlsplit(headers.get("origin", ""))
                return None if origin.netloc == host else "only the panel's own page may do this"
        return "this panel is not at that host"


def _is_here(name: str, hosts: tuple[str, ...]) -> bool:
    """Whether a host name is one of ours; with the network let in, any address, but no foreign name."""
    if name in hosts:
        return True
    if set(hosts) <= set(LOOPBACK):
        return False
    with contextlib.suppress(ValueError):
        return bool(ipaddress.ip_address(name))
    return name.lower() == socket.gethostname().lower()


def _secured(send: Send) -> Send:
    async def with_headers(message: Message) -> None:
        if message["type"] == "http.response.start":
            pairs = ((key.lower().encode(), value.encode()) for key, value in _SECURITY.items())
            message = {**message, "headers": [*message.get("headers", []), *pairs]}
        await send(message)

    return with_headers


class Browser:
    """One open page: what it watches and what waits to be sent to it."""

    def __init__(self, socket: WebSocket):
        self.socket = socket
        self.views: set[str] = set()
        self.waiting: deque[str] = deque()
        self.wake = asyncio.Event()
        self.state_seen = self.bank_seen = -1
        self.keys: set[int] = set()  # on-screen keys that are down

    def tell(self, message: dict[str, Any], can_wait: bool = True) -> None:
        """Send something soon; what cannot wait is left out where the page is slow."""
        if can_wait or len(self.waiting) < MOST_WAITING // 4:
            self.waiting.append(json.dumps(message, separators=(",", ":")))
        while len(self.waiting) > MOST_WAITING:
            self.waiting.popleft()
            self.state_seen = self.bank_seen = -1  # something may have been a state: tell it anew
        self.wake.set()


class Panel:
    """The panel's server, as a context. Raises OSError if its address is taken.

    host, port : where it listens; port 0 is any.
    """

    def __init__(self, player: Player, recorder: Recorder, takes: Path, host: str, port: int):
        self.player = player
        self.session = Session(player, recorder, takes, home(), self._say)
        self.hosts = LOOPBACK if host in LOOPBACK else (*LOOPBACK, host)
        self._browsers: set[Browser] = set()
        self._words = WireWords()
        self._wired, self._monitored = player.wired, player.monitored
        self._loop: asyncio.AbstractEventLoop | None = None
        self._before = player.status()
        self._matching = asyncio.Lock()
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._socket = socket.socket(family, socket.SOCK_STREAM)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            self._socket.bind((host, port))
        except OSError as error:
            self._socket.close()
            raise OSError(
                f"the panel cannot listen on {host}:{port} ({error.strerror}): choose another --port"
            ) from None
        self.address = f"http://{f'[{host}]' if ':' in host else host}:{self._socket.getsockname()[1]}/"
        app = Starlette(
            routes=[
                Route("/", self._page),
                Route("/favicon.ico", self._icon),
                Route("/bank", self._take_bank, methods=["POST"]),
                Route("/bank/{place}.{kind}", self._give_bank),
                Route("/sound", self._take_sound, methods=["POST"]),
                Route("/take/{name}", self._give_take),
                *PolesPage(self._say).routes,
                WebSocketRoute("/live", self._connect),
                Mount("/static", StaticFiles(directory=STATIC)),
            ],
            middleware=[Middleware(Guard, hosts=self.hosts)],
            lifespan=self._lifespan,
        )
        config = uvicorn.Config(app, log_level="error", ws_max_size=LONGEST_REQUEST, timeout_graceful_shutdown=1)
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._serve, name="jxemu panel", daemon=True)

    def _serve(self) -> None:
        self._server.run(sockets=[self._socket])

    def __enter__(self) -> "Panel":
        self.player.say = self._say
        self._thread.start()
        while self._thread.is_alive() and not self._server.started:
            time.sleep(0.01)
        if not self._server.started:
            raise OSError("the panel's server did not start")
        say(f"panel: {self.address}")
        return self

    def __exit__(self, *_: object) -> None:
        self._server.should_exit = True
        self._thread.join(3.0)
        self._socket.close()
        self.player.say = say

    def _say(self, sentence: str) -> None:
        """A sentence for the terminal and for every page."""
        say(sentence)
        if self._loop:
            self._loop.call_soon_threadsafe(self._tell_all, {"is": "say", "text": sentence})

    def _tell_all(self, message: dict[str, Any]) -> None:
        for browser in self._browsers:
            browser.tell(message)

    # --- files ---

    async def _page(self, request: Request) -> Response:
        return FileResponse(STATIC / "index.html")

    async def _icon(self, request: Request) -> Response:
        return FileResponse(STATIC / "icon.svg", media_type="image/svg+xml")

    async def _take_bank(self, request: Request) -> Response:
        """A bank file as the body of a request, into the memory `place`."""
        data = await body(request, LARGEST_UPLOAD)
        if data is None:
            return PlainTextResponse("the file is too large for a bank", 413)
        name = request.query_params.get("name", "the file")[:80]
        try:
            place = request.query_params.get("place", "internal")
            said = await asyncio.to_thread(self.session.take_bank, data, place, name)
        except RequestError as error:
            return PlainTextResponse(str(error), 400)
        return PlainTextResponse(said)

    async def _take_sound(self, request: Request) -> Response:
        """A sound file as the body of a request: tones that sound like it, for every page to choose from."""
        data = await body(request, LARGEST_SOUND)
        if data is None:
            return PlainTextResponse("the file is too large for one note", 413)
        if self._matching.locked():
            return PlainTextResponse("a sound is being matched; drop the next one when it is done", 409)
        async with self._matching:
            name = request.query_params.get("name", "sound.wav")[-80:]
            self._say(f"{name}: looking for tones that sound like it")
            try:
                said, tones = await awaited(request, matched(data, name))
            except GivenUpError:
                self._say(f"{name}: its page was closed, the search is given up")
                return PlainTextResponse("given up", 400)
            except (MatchingError, OSError) as error:
                return PlainTextResponse(str(error), 400)
        self.session.take_matched(tones)
        return PlainTextResponse(said)

    async def _give_bank(self, request: Request) -> Response:
        place, kind = request.path_params["place"], request.path_params["kind"]
        try:
            data, suffix = self.session.bank_file(kind, place)
        except RequestError as error:
            return PlainTextResponse(str(error), 404)
        shown = {"Content-Disposition": f'attachment; filename="{place}.{suffix}"'}
        return Response(data, headers=shown, media_type="application/octet-stream")

    async def _give_take(self, request: Request) -> Response:
        name = request.path_params["name"]
        if name not in self.session.taken:  # a name this session gave, so never a path from outside
            return PlainTextResponse("there is no such recording", 404)
        return FileResponse(self.session.taken[name], filename=name)

    # --- live ---

    @contextlib.asynccontextmanager
    async def _lifespan(self, app: Starlette):
        self._loop = asyncio.get_running_loop()
        turning = asyncio.create_task(self._turn_for_ever())
        yield
        turning.cancel()

    async def _connect(self, connection: WebSocket) -> None:
        await connection.accept()
        browser = Browser(connection)
        browser.tell(tables())
        self._browsers.add(browser)
        sending = asyncio.create_task(self._send(browser))
        try:
            await self._listen(browser)
        except (WebSocketDisconnect, RuntimeError):
            pass
        finally:
            self._browsers.discard(browser)
            sending.cancel()
            for key in browser.keys:  # a page that is closed lets go of its keys
                self.session.do({"do": "note", "on": False, "key": key})

    async def _listen(self, browser: Browser) -> None:
        began, count = time.monotonic(), 0
        while True:
            text = await self._received(browser.socket)
            if time.monotonic() - began > 1.0:
                began, count = time.monotonic(), 0
            count += 1
            if count > MOST_REQUESTS:
                await asyncio.sleep(max(0.0, began + 1.0 - time.monotonic()))
            try:
                await self._do(browser, json.loads(text))
            except (ValueError, RecursionError, OverflowError) as error:
                why = str(error) if isinstance(error, RequestError) else "that was not JSON"
                browser.tell({"is": "error", "text": why}, can_wait=False)

    @staticmethod
    async def _received(socket: WebSocket) -> str:
        message = await socket.receive()
        if message["type"] == "websocket.disconnect":
            raise WebSocketDisconnect
        return message.get("text") or ""

    async def _do(self, browser: Browser, request: Any) -> None:
        if isinstance(request, dict) and request.get("do") == "watch":
            views = request.get("views")
            if not isinstance(views, list) or not all(view in VIEWS for view in views):
                raise RequestError(f"views are among {', '.join(VIEWS)}")
            browser.views = set(views)
            return
        if isinstance(request, dict) and request.get("do") == "record":
            await asyncio.to_thread(self.session.do, request)  # it waits for the disk
            return
        self.session.do(request)
        if request["do"] == "note":
            (browser.keys.add if request["on"] else browser.keys.discard)(request["key"])

    async def _send(self, browser: Browser) -> None:
        with contextlib.suppress(WebSocketDisconnect, RuntimeError):
            while True:
                await browser.wake.wait()
                browser.wake.clear()
                while browser.waiting:
                    await browser.socket.send_text(browser.waiting.popleft())

    async def _turn_for_ever(self) -> None:
        turn = 0
        while True:
            await asyncio.sleep(TURN)
            turn += 1
            try:
                self._turn(turn)
            except Exception as error:  # the panel goes on, whatever one look at the instrument brings
                self._say(f"panel: {type(error).__name__}: {error}")
                await asyncio.sleep(1.0)

    def _turn(self, turn: int) -> None:
        self.session.look()
        state = browser_rows = None
        for browser in list(self._browsers):
            if browser.state_seen != self.session.revision:
                state = state or self.session.state()
                browser.state_seen = self.session.revision
                browser.tell(state)
            if browser.bank_seen != self.session.bank_revision:
                browser_rows = browser_rows or self.session.browser()
                browser.bank_seen = self.session.bank_revision
                browser.tell(browser_rows)
        watched = set().union(*(browser.views for browser in self._browsers))
        messages = {view: getattr(self, f"_{view}")() for view in watched if turn % _EVERY.get(view, 1) == 0}
        if turn % 5 == 0:
            self._tell_all(self._meters())
        for browser in list(self._browsers):
            for view, message in messages.items():
                if view in browser.views and message:
                    browser.tell(message, can_wait=view in ("wire", "monitor"))

    # --- views ---

    def _meters(self) -> dict[str, Any]:
        now, before = self.player.status(), self._before
        self._before = now
        played = (now["frames"] - before["frames"]) / now["rate"]
        load = (now["busy_ns"] - before["busy_ns"]) / 1e9 / played if played > 0 else 0.0
        peak = np.abs(self.player.shared.heard(4096)).max(axis=0)
        level = [round(float(20 * np.log10(side + 1e-6)), 1) for side in peak]
        inputs = self.player.input_names
        return {"is": "meters", **now, "load": load, "level": level, "inputs": inputs}

    def _scope(self) -> dict[str, Any]:
        """The newest wave, begun at a rising zero crossing where there is one, scaled to -1000..1000 of its peak."""
        sound = self.player.shared.heard(2 * _SCOPE).mean(axis=1)
        rising = np.flatnonzero((sound[: _SCOPE - 1] < 0) & (sound[1:_SCOPE] >= 0))
        start = int(rising[0]) if len(rising) else 0
        wave = sound[start : start + _SCOPE : 4]
        peak = float(np.abs(wave).max())
        return {"is": "scope", "peak": peak, "wave": np.round(wave / max(peak, 1e-4) * 1000).astype(int).tolist()}

    def _spectrum(self) -> dict[str, Any]:
        """Peaks of `_BANDS` bands from 20 Hz to 20 kHz, in dB of full scale."""
        sound = self.player.shared.heard(_SPECTRUM).mean(axis=1)
        size = np.abs(np.fft.rfft(sound * np.hanning(_SPECTRUM))) / (_SPECTRUM / 4)
        edges = np.geomspace(20, 20_000, _BANDS + 1) / self.player.machine.sample_rate * _SPECTRUM
        bands = [size[int(a) : max(int(b), int(a) + 1)].max() for a, b in pairwise(edges)]
        return {"is": "spectrum", "db": [round(float(20 * np.log10(band + 1e-7)), 1) for band in bands]}

    def _machine(self) -> dict[str, Any]:
        boards = []
        for name, number in zip(self.player.machine.outputs, range(len(self.player.machine.outputs)), strict=True):
            seen = self.player.machine.engine.look(number)
            loudest = max(range(6), key=lambda voice: (seen["gate"][voice], seen["env2"][voice]))
            filters = [seen[key][loudest] for key in ("cutoff", "q1", "q2", "feedback")]
            gain = np.abs(response(_RESPONSE_HZ, *filters)) if filters[0] > 0 else np.ones(len(_RESPONSE_HZ))
            boards.append(
                {
                    "name": name,
                    "voice": loudest,
                    "env1": [round(level, 3) for level in seen["env1"]],
                    "env2": [round(level, 3) for level in seen["env2"]],
                    "gate": seen["gate"],
                    "note": seen["note"],
                    "cutoff": round(filters[0], 1),
                    "response": [round(float(x), 1) for x in 20 * np.log10(np.maximum(gain, 1e-5))],
                }
            )
        return {"is": "machine", "boards": boards}

    def _latch(self) -> dict[str, Any]:
        machine = self.player.machine
        boards = [{"name": name, **machine.engine.look(n)["latch"]} for n, name in enumerate(machine.outputs)]
        return {"is": "latch", "boards": boards}

    def _wire(self) -> dict[str, Any] | None:
        with self.player.lock:
            fresh = min(self.player.wired - self._wired, len(self.player.wire), _MOST_BYTES)
            arrivals = list(islice(reversed(self.player.wire), fresh))[::-1]
            self._wired = self.player.wired
        rows = self._words.feed(arrivals)
        return {"is": "wire", "rows": rows[-_MOST_ROWS:], "left_out": max(0, len(rows) - _MOST_ROWS)} if rows else None

    def _monitor(self) -> dict[str, Any] | None:
        with self.player.lock:
            fresh = min(self.player.monitored - self._monitored, len(self.player.monitor))
            rows = list(self.player.monitor)[len(self.player.monitor) - fresh :] if fresh else []
            self._monitored = self.player.monitored
        words = [(at, port, midi_words(message)) for at, port, message in rows[-_MOST_ROWS:]]
        return {"is": "monitor", "rows": words, "left_out": max(0, len(rows) - _MOST_ROWS)} if rows else None


_EVERY = {"spectrum": 2, "latch": 5, "machine": 1, "wire": 3, "monitor": 3}
"""Turns between two pictures of a view."""
