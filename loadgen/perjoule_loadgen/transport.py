"""Bodies read within a limit, and why a request got no answer, in words: what aiohttp says is for those who know it."""

import os
import socket

import aiohttp


class TooLongError(aiohttp.ClientPayloadError):
    """The answer is longer than anything that was asked for; the rest of it was not read."""


async def read_body(reply: aiohttp.ClientResponse, most: int) -> bytes:
    """Return the body of ``reply``, decompressed.

    Raises:
        TooLongError: it has more than ``most`` bytes.
        aiohttp.ClientError: it breaks off.
    """
    parts: list[bytes] = []
    size = 0
    async for part in reply.content.iter_any():
        size += len(part)
        if size > most:
            raise TooLongError(f"the answer has more than {most / 2**20:g} MiB")
        parts.append(part)
    return parts[0] if len(parts) == 1 else b"".join(parts)


def printable(body: bytes, most: int) -> str:
    """Return the beginning of ``body`` on one line, without what would steer a terminal."""
    words = " ".join(body[:most].decode(errors="replace").split())
    return "".join(one if one.isprintable() else "\ufffd" for one in words)


def why(failure: BaseException) -> str:
    """Return the reason of a failed request as a few words: ``connection refused``.

    ``failure`` is a ``TimeoutError``, an ``aiohttp.ClientError`` or an ``OSError``.
    """
    if isinstance(failure, TimeoutError):
        return "no answer in time"
    if isinstance(failure, aiohttp.ClientPayloadError):
        return str(failure) if isinstance(failure, TooLongError) else "the answer broke off"
    if isinstance(failure, aiohttp.ServerDisconnectedError):
        return "the connection was closed before an answer"
    if isinstance(failure, aiohttp.ClientResponseError):
        return "what answers does not speak HTTP"
    if isinstance(failure, aiohttp.ClientConnectorError):
        return _of_socket(failure.os_error)
    return _of_socket(failure) if isinstance(failure, OSError) else str(failure) or type(failure).__name__


def _of_socket(error: OSError) -> str:
    if isinstance(error, socket.gaierror):
        return "no such host"
    # An error of TLS has numbers of its own: its text, without the line of C that raised it.
    known = error.errno is not None and not isinstance(error, aiohttp.ClientSSLError) and "SSL" not in str(error)
    return os.strerror(error.errno).lower() if known and error.errno else str(error).split(" (_ssl.c")[0]
