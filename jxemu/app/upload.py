"""What a page sends to the panel's server."""

from starlette.requests import Request


async def body(request: Request, most: int) -> bytes | None:
    """The body of a request, or None if it is longer than `most` bytes."""
    data = bytearray()
    async for piece in request.stream():
        data += piece
        if len(data) > most:
            return None
    return bytes(data)
