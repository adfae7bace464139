"""What a page sends to the panel's server, and whether it still waits for an answer."""

import asyncio
from collections.abc import Coroutine
from typing import TypeVar

from starlette.requests import ClientDisconnect, Request

LISTENING = 0.3
"""Seconds between two looks at whether a page that asked for something long is still there."""

Made = TypeVar("Made")


class GivenUpError(Exception):
    """The page that asked for some work was closed: nobody waits for it."""


async def body(request: Request, most: int) -> bytes | None:
    """The body of a request, or None if it is longer than `most` bytes or its page is gone before it is whole."""
    data = bytearray()
    try:
        async for piece in request.stream():
            data += piece
            if len(data) > most:
                return None
    except ClientDisconnect:
        return None
    return bytes(data)


async def awaited(request: Request, work: Coroutine[None, None, Made]) -> Made:
    """What some work makes, for as long as the page that asked for it is there. Raises GivenUpError when it is closed."""
    task = asyncio.create_task(work)
    while not task.done():
        await asyncio.wait([task], timeout=LISTENING)
        if not task.done() and await request.is_disconnected():
            task.cancel()
    try:
        return await task
    except asyncio.CancelledError:
        raise GivenUpError from None
