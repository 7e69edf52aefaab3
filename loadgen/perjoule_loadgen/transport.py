"""Why a request got no answer, in words: what aiohttp says of sockets is for those who know aiohttp."""

import os
import socket

import aiohttp


def why(failure: BaseException) -> str:
    """Return the reason of a failed request as a few words: ``connection refused``.

    ``failure`` is a ``TimeoutError``, an ``aiohttp.ClientError`` or an ``OSError``.
    """
    if isinstance(failure, TimeoutError):
        return "no answer in time"
    if isinstance(failure, aiohttp.ClientPayloadError):
        return "the answer broke off"
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
