"""The panel's page of poles: a CRBM learns a sound, its poles are dragged, and what they make is heard.

Machines are folders of `home`, as ``jxemu ml crbm train`` writes them; a sound given to the page is learned by that command.
"""

import asyncio
import contextlib
import io
import json
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from jxemu.app.crbm import Edit
from jxemu.app.home import POLES, home
from jxemu.app.matching import LARGEST_SOUND
from jxemu.app.process import CommandError, plain_stem, run
from jxemu.app.upload import GivenUpError, awaited, body

if TYPE_CHECKING:
    from jxemu.ml.crbm import Model
    from jxemu.ml.poles import Poles

LEARNED_SECONDS = 1.0
"""Of a sound that is given to the page: from its loudest place on, with a little of what leads to it."""

LEAD_SECONDS = 0.05
MOST_READ = 60.0
"""Seconds of a file at most, since all of it is looked through."""

EPOCHS = 10
SOUND = "sound.wav"
LONGEST = 600.0
MOST_TOLD = 1 << 16
SECONDS, MOST_SECONDS = 2.0, 10.0
FARTHEST = 2.0
"""From 0, beyond which no pole may stand: such a one fills the range within a few samples."""


class PolesError(ValueError):
    """Why there is nothing to show or to hear."""


def folder() -> Path:
    """Where the machines are."""
    return home() / POLES


def names() -> list[str]:
    """Machines that are there, those on samples: spectra have no poles."""
    found = []
    for card in folder().glob("*/card.json"):
        with contextlib.suppress(OSError, ValueError, TypeError, KeyError):  # what is no machine is not listed
            told = json.loads(card.read_text())
            if told["model"] == "crbm" and max(told["settings"]["sizes"]) == 1:
                found.append(card.parent.name)
    return sorted(found)


def load(name: str) -> "Model":
    """A machine by its name. Raises PolesError."""
    if name not in names():  # a name of our own list, so never a path from outside
        raise PolesError(f"there is no sound {name!r} here")
    try:
        from jxemu.ml.crbm import CrbmError, Model
    except ImportError as error:
        raise PolesError(f"{error.name} is not installed; pip install 'jxemu[ml]'") from None
    try:
        return Model.load(folder() / name)
    except CrbmError as error:
        raise PolesError(str(error)) from None


def plain(poles: "Poles") -> dict[str, Any]:
    """Poles as the page has them."""
    return {"real": poles.real.tolist(), "pairs": [[pole.real, pole.imag] for pole in poles.pairs]}


def poles_of(told: Any, order: int) -> "Poles":
    """Poles as the page told them. Raises PolesError for anything else than `order` poles near the unit circle."""
    from jxemu.ml.poles import Poles

    try:
        real = np.array(told["real"], float).reshape(-1)
        pairs = np.array(told["pairs"], float).reshape(-1, 2)
    except (TypeError, KeyError, ValueError):
        raise PolesError("that were no poles") from None
    found = Poles(real, pairs[:, 0] + 1j * np.abs(pairs[:, 1]))
    if found.order != order or not (np.abs(found.all) <= FARTHEST).all():
        raise PolesError(f"{order} poles are needed, none farther than {FARTHEST:g} from 0")
    return found


def edited(told: Any, order: int, rate: int) -> "Poles":
    """The poles that were told, all moved by what was told beside them. Raises PolesError."""
    moves = {name: told.get(name) for name in ("clamp", "scale", "pull", "rotate", "pitch")}
    if not all(move is None or (isinstance(move, int | float) and abs(move) < 1e5) for move in moves.values()):
        raise PolesError("poles are moved by numbers")
    found = Edit(**moves, rate=rate).poles(poles_of(told, order))
    if not (np.abs(found.all) <= FARTHEST).all():
        raise PolesError(f"a pole would be farther than {FARTHEST:g} from 0")
    return found


def sound_of(name: str, told: Any) -> bytes:
    """What a machine with these poles makes, from the loudest place of its sound on, as a WAV file. Raises PolesError."""
    import soundfile

    from jxemu.ml.crbm import CrbmError

    model = load(name)
    rate, span = model.settings.rate, len(model.a)
    model = model.edited(poles_of(told, span))
    hidden = bool(told.get("hidden", True))
    model = model if hidden else model.linear()
    seconds = min(float(told.get("seconds", SECONDS)), MOST_SECONDS)
    context = None
    if (learned := folder() / name / SOUND).exists():
        context, _ = soundfile.read(learned)
        context = context[: int(np.argmax(np.abs(context))) + span]
    try:
        # Poles that are moved are struck as those before them were: loudly. A linear machine is turned down, not bent.
        bends = hidden or not model.stable
        made, _ = model.generate(round(seconds * rate), int(told.get("seed", 0)), context, bends)
    except CrbmError as error:
        raise PolesError(str(error)) from None
    made = np.nan_to_num(made, nan=0.0, posinf=1.0, neginf=-1.0)
    out = io.BytesIO()
    soundfile.write(out, made / max(1.0, float(np.abs(made).max(initial=0.0))), rate, "PCM_16", format="WAV")
    return out.getvalue()


def excerpt(data: bytes, name: str) -> tuple[np.ndarray, int]:
    """The part of a sound file that is learned, mono, and its rate. Raises PolesError."""
    import soundfile

    try:
        with soundfile.SoundFile(io.BytesIO(data)) as file:
            rate = file.samplerate
            if file.frames > MOST_READ * rate:
                raise PolesError(f"{name} is longer than {MOST_READ:g} s: give a short sound")
            sound = file.read(dtype="float32", always_2d=True).astype(float)
    except (OSError, soundfile.SoundFileError):
        raise PolesError(f"{name} is not a sound file") from None
    mono = sound.mean(1)
    if not len(mono) or not np.isfinite(mono).all() or not np.abs(mono).max() > 1e-6:
        raise PolesError(f"{name} is silent, or holds samples that are no numbers")
    begin = max(0, int(np.argmax(np.abs(mono))) - round(LEAD_SECONDS * rate))
    return mono[begin : begin + round(LEARNED_SECONDS * rate)], rate


async def learn(data: bytes, name: str) -> str:
    """Learn a sound file's sound; gives the machine's name, a free one. Raises PolesError, OSError."""
    with tempfile.TemporaryDirectory(prefix="jxemu-") as room:
        wave, made = Path(room) / SOUND, Path(room) / "made"
        await asyncio.to_thread(_prepare, data, name, wave)
        try:
            await run("ml", "crbm", "train", str(wave), "-o", str(made), "--epochs", str(EPOCHS), longest=LONGEST)
        except CommandError as error:
            raise PolesError(str(error).replace(str(wave), name)) from None
        wave.replace(made / SOUND)
        stem, number = plain_stem(name), 1
        while (folder() / (free := stem if number == 1 else f"{stem} {number}")).exists():
            number += 1
        await asyncio.to_thread(_put, made, free)
    return free


def _prepare(data: bytes, name: str, wave: Path) -> None:
    import soundfile

    soundfile.write(wave, *excerpt(data, name), "PCM_24")


def keep(name: str, told: Any, new: str) -> str:
    """Write a machine with other poles under a new name; gives that. Raises PolesError, OSError."""
    if not new.strip():
        raise PolesError("give it a name to keep it by")
    model, new = load(name), plain_stem(f"{new}.")
    if (folder() / new).exists():
        raise PolesError(f"there is a {new!r} already; give another name")
    with tempfile.TemporaryDirectory(prefix="jxemu-") as room:
        made = Path(room) / "made"
        model.edited(poles_of(told, len(model.a))).save(made)
        if (learned := folder() / name / SOUND).exists():
            shutil.copy(learned, made / SOUND)
        _put(made, new)
    return new


def _put(made: Path, name: str) -> None:
    """Give a machine its place, whole or not at all."""
    folder().mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".", dir=folder()) as beside:
        shutil.copytree(made, Path(beside) / name).replace(folder() / name)


class PolesPage:
    """The page's side of the server. say : tells every page a sentence."""

    def __init__(self, say: Callable[[str], None]):
        self._say = say
        self._learning = asyncio.Lock()
        self.routes = [
            Route("/poles", self._names),
            Route("/poles", self._learn, methods=["POST"]),
            Route("/poles/{name}", self._show),
            Route("/poles/{name}/sound", self._original),
            Route("/poles/{name}/sound", self._sound, methods=["POST"]),
            Route("/poles/{name}/edit", self._edit, methods=["POST"]),
            Route("/poles/{name}/keep", self._keep, methods=["POST"]),
        ]

    async def _names(self, request: Request) -> Response:
        return JSONResponse(await asyncio.to_thread(names))

    async def _learn(self, request: Request) -> Response:
        data = await body(request, LARGEST_SOUND)
        name = request.query_params.get("name", "sound.wav")[-80:]
        if data is None:
            return PlainTextResponse("the file is too large for one sound", 413)
        if self._learning.locked():
            return PlainTextResponse("a sound is being learned; give the next one when it is done", 409)
        async with self._learning:
            self._say(f"{name}: it is being learned, about half a minute")
            try:
                return await _answer(awaited(request, learn(data, name)))
            except GivenUpError:
                self._say(f"{name}: its page was closed, learning is given up")
                return PlainTextResponse("given up", 400)

    async def _show(self, request: Request) -> Response:
        name = request.path_params["name"]

        def shown() -> dict[str, Any]:
            model = load(name)
            about = {
                "rate": model.settings.rate,
                "hidden": len(model.w),
                "original": (folder() / name / SOUND).exists(),
            }
            return about | plain(model.poles) | {"total": plain(model.total_poles)["pairs"]}

        return await _answer(asyncio.to_thread(shown))

    async def _original(self, request: Request) -> Response:
        name = request.path_params["name"]
        if name not in names() or not (folder() / name / SOUND).exists():
            return PlainTextResponse("there is no such sound", 404)
        return FileResponse(folder() / name / SOUND, media_type="audio/wav")

    async def _sound(self, request: Request) -> Response:
        return await self._told(request, lambda name, told: Response(sound_of(name, told), media_type="audio/wav"))

    async def _edit(self, request: Request) -> Response:
        def moved(name: str, told: Any) -> dict[str, Any]:
            model = load(name)
            return plain(edited(told, len(model.a), model.settings.rate))

        return await self._told(request, moved)

    async def _keep(self, request: Request) -> Response:
        new = request.query_params.get("as", "")
        return await self._told(request, lambda name, told: keep(name, told, new))

    async def _told(self, request: Request, work: Callable[[str, Any], Any]) -> Response:
        """What work makes of a machine's name and of the request's JSON."""
        data = await body(request, MOST_TOLD)
        if data is None:
            return PlainTextResponse("that is too much to be poles", 413)
        try:
            told = json.loads(data)
        except (ValueError, RecursionError):
            told = None
        if not isinstance(told, dict):
            return PlainTextResponse("that was not JSON", 400)
        return await _answer(asyncio.to_thread(work, request.path_params["name"], told))


async def _answer(work: Any) -> Response:
    """What some work makes, as JSON if it is not a response of its own; what cannot be made is told in a sentence."""
    try:
        made = await work
    except PolesError as error:
        return PlainTextResponse(str(error), 400)
    except OSError as error:
        return PlainTextResponse(f"cannot write or read {folder()}: {error.strerror}", 400)
    except (TypeError, ValueError, OverflowError, RuntimeError):  # the last is a sound file's that is not whole
        return PlainTextResponse("that cannot be", 400)
    return made if isinstance(made, Response) else JSONResponse(made)
