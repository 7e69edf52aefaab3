"""Where to listen: ``host:port`` as Prometheus's programs write it, and the socket made from it.

It knows addresses, not what is served there.
"""

import errno
import os
import socket
from dataclasses import dataclass

from perjoule.errors import PerjouleError, UsageError

_PORT_MAX = 65535


@dataclass(frozen=True, slots=True)
class Address:
    """A host and a port. An empty host means every interface; port 0 lets the system choose."""

    host: str
    port: int

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"


def parse_address(text: str) -> Address:
    """Parse ``127.0.0.1:10101``, ``[::1]:10101``, ``localhost:0`` or ``:10101``.

    Raises:
        UsageError: it is none of these.
    """
    host, colon, port = text.strip().rpartition(":")
    bracketed = host.startswith("[") and host.endswith("]")
    host = host[1:-1] if bracketed else host
    digits = port.isascii() and port.isdigit()
    if colon and digits and int(port) > _PORT_MAX:
        raise UsageError(f"cannot listen on {text!r}: port {port} is over {_PORT_MAX}")
    if not colon or not digits or (":" in host and not bracketed) or "/" in host:
        raise UsageError(f"cannot listen on {text!r}: write host:port, [IPv6]:port or :port")
    return Address(host, int(port))


def listening_socket(address: Address) -> socket.socket:
    """Return a bound and listening TCP socket.

    Raises:
        PerjouleError: the port is taken, or the host is none of this machine's.
    """
    try:
        if not address.host:
            return _any_interface(address.port)
        family, _, _, _, target = socket.getaddrinfo(
            address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        return socket.create_server(target[:2], family=family, backlog=128)
    except OSError as error:
        taken = error.errno == errno.EADDRINUSE
        hint = " (is another exporter running? choose another --web.listen-address)" if taken else ""
        raise PerjouleError(f"cannot listen on {address}: {_reason(error)}{hint}") from error


def _reason(error: OSError) -> str:
    """Return the system's words alone: the library appends the address. Name look-ups have words of their own."""
    if error.errno is None or isinstance(error, socket.gaierror):
        return error.strerror or str(error)
    return os.strerror(error.errno)


def _any_interface(port: int) -> socket.socket:
    if socket.has_dualstack_ipv6():
        return socket.create_server(("", port), family=socket.AF_INET6, dualstack_ipv6=True, backlog=128)
    return socket.create_server(("", port), backlog=128)


def url_of(listening: socket.socket, scheme: str = "http") -> str:
    """Return a URL under which this machine reaches the socket, without a path."""
    host, port = listening.getsockname()[:2]
    host = {"::": "localhost", "0.0.0.0": "localhost"}.get(host, host)  # noqa: S104 (compared, not bound)
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"
