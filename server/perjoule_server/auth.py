"""Bearer tokens from a file, and whom one belongs to.

Only digests are kept, so that neither a log, a traceback nor a memory dump holds a token. Knows nothing of HTTP but the
one header.
"""

import hashlib
import hmac
import ipaddress
import logging
import os
import re
import stat
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from perjoule.errors import UsageError

log = logging.getLogger(__name__)

_TOKEN = re.compile(r"[A-Za-z0-9._~+/-]+=*")  # what RFC 6750 lets stand after "Bearer"
_NAME = re.compile(r"[A-Za-z0-9._@-]{1,64}")

SHORTEST = 16
"""Characters that a token has at least: with fewer it can be guessed."""

MOST = 1_000
"""Tokens of one file: each request is compared with all of them."""


class Role(StrEnum):
    """What a token allows: to ask (``plain``), or also to load and unload models (``admin``)."""

    PLAIN = "plain"
    ADMIN = "admin"


@dataclass(frozen=True, slots=True)
class Bearer:
    """One line of the file: a token's digest, what it allows, and a name for people."""

    digest: bytes
    role: Role
    name: str


def _digest(token: bytes) -> bytes:
    return hashlib.sha256(token).digest()


def parse(text: str) -> tuple[Bearer, ...]:
    """Read a file's lines, ``TOKEN [plain|admin [NAME]]``; blank ones and those that begin with ``#`` say nothing.

    Raises:
        UsageError: the message names the line, never what stands in it.
    """
    bearers: dict[bytes, Bearer] = {}
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        bearer = _bearer(line.split(), number)
        if bearer.digest in bearers:
            raise UsageError(f"line {number} repeats a token; each may stand there once")
        bearers[bearer.digest] = bearer
    if not 1 <= len(bearers) <= MOST:
        raise UsageError(f"{len(bearers)} tokens; 1 to {MOST} are taken, one a line")
    return tuple(bearers.values())


def _bearer(words: list[str], number: int) -> Bearer:
    token, role, name, *more = [*words, *("", Role.PLAIN, f"line-{number}")[len(words) :]]
    if len(token) < SHORTEST or not _TOKEN.fullmatch(token):
        made = "openssl rand -hex 32"
        raise UsageError(
            f"line {number}: a token has {SHORTEST} or more of A-Z a-z 0-9 . _ ~ + / -; `{made}` makes one"
        )
    if more or role not in {*Role} or not _NAME.fullmatch(name):
        raise UsageError(f"line {number}: after the token may stand plain or admin, and after that a name")
    return Bearer(_digest(token.encode()), Role(role), name)


def match(bearers: Iterable[Bearer], authorization: bytes) -> Bearer | None:
    """Return whose token an Authorization header holds, None for nobody's.

    Takes the same time whoever it is: all tokens are compared, and by digests, which tell nothing of their length.
    """
    scheme, _, token = authorization.partition(b" ")
    if scheme.lower() != b"bearer":
        return None
    given, found = _digest(token.strip()), None
    for bearer in bearers:
        if hmac.compare_digest(bearer.digest, given):
            found = bearer
    return found


class Tokens:
    """The tokens of a file, as it was when it was last read."""

    def __init__(self, path: str) -> None:
        """Read the file.

        Raises:
            UsageError: it cannot be read, or holds something else than tokens.
        """
        self._path = Path(path)
        self._bearers = self._read()

    def match(self, authorization: bytes) -> Bearer | None:
        """See the function of this name."""
        return match(self._bearers, authorization)

    def reload(self) -> None:
        """Read the file again; if it is wrong now, the tokens that were known stay, and the log says why."""
        try:
            self._bearers = self._read()
        except UsageError as error:
            log.error("%s; the tokens known before stay", error)  # noqa: TRY400 (the sentence says it all)
        else:
            log.info("--auth.tokens: %d tokens read again", len(self._bearers))

    def _read(self) -> tuple[Bearer, ...]:
        try:
            with self._path.open(encoding="ascii") as file:
                mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
                bearers = parse(file.read())
        except OSError as error:
            raise UsageError(f"--auth.tokens {self._path}: {error.strerror}") from None
        except UnicodeDecodeError:
            raise UsageError(f"--auth.tokens {self._path}: tokens and comments are ASCII") from None
        except UsageError as error:
            raise UsageError(f"--auth.tokens {self._path}: {error}") from None
        if mode & stat.S_IROTH:
            log.warning("--auth.tokens %s can be read by every user of this machine: chmod o-r it", self._path)
        return bearers


def warn_if_open(host: str, tokens: Tokens | None) -> None:
    """Say so in the log where other machines may reach ``host``, the address that is listened on, without a token."""
    if tokens is None and not ipaddress.ip_address(host.partition("%")[0]).is_loopback:
        log.warning("whoever reaches %s may use this server; --auth.tokens FILE limits that", host)
