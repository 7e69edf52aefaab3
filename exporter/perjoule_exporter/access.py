"""Who may ask: user names with bcrypt hashes, and the whole of what protects the web side.

It knows passwords for the length of one comparison and keeps none: what it remembers are keyed digests. A comparison
takes tens of milliseconds of CPU on purpose, so answers are remembered, and only one comparison runs at a time. Unknown
users cost the same time as known ones. Nothing here is logged.
"""

import base64
import binascii
import hashlib
import hmac
import re
import secrets
import threading
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from types import MappingProxyType

from perjoule_exporter.tls import Tls

BCRYPT_HASH = re.compile(r"\$2[aby]\$(0[4-9]|[12][0-9]|3[01])\$[./A-Za-z0-9]{53}")

_REMEMBERED = 256
_BUSY_SECONDS = 5.0
_BCRYPT_BYTES = 72  # bcrypt looks at no more; newer libraries refuse what older ones cut


class _Memory:
    """The last few answers that were alike. Kept apart for yes and no: guessing must not push out who is let in."""

    def __init__(self) -> None:
        self._digests: OrderedDict[bytes, None] = OrderedDict()
        self._lock = threading.Lock()

    def add(self, digest: bytes) -> None:
        with self._lock:
            self._digests[digest] = None
            if len(self._digests) > _REMEMBERED:
                self._digests.popitem(last=False)

    def has(self, digest: bytes) -> bool:
        with self._lock:
            if digest not in self._digests:
                return False
            self._digests.move_to_end(digest)
            return True


class BasicAuth:
    """Users and the bcrypt hashes of their passwords, of ``BCRYPT_HASH``'s shape. Needs the package bcrypt."""

    def __init__(self, users: Mapping[str, str]) -> None:
        import bcrypt

        self._matches = bcrypt.checkpw
        self._users = dict(users)
        # A name that nobody has is compared with a hash that nothing fits, as costly as the costliest of the real ones.
        cost = max((user_hash[4:6] for user_hash in users.values()), default="10")
        self._nobody = f"$2b${cost}$" + "." * 53
        self._key = secrets.token_bytes(32)
        self._comparing = threading.Lock()
        self._yes, self._no = _Memory(), _Memory()

    def refusal(self, authorization: str) -> HTTPStatus | None:
        """Return why a request with this Authorization header is not answered, or None where it is.

        401 for a wrong or missing password, 503 where others' comparisons take all the time that there is.
        """
        credentials = _credentials(authorization)
        if credentials is None:
            return HTTPStatus.UNAUTHORIZED
        user, password = credentials
        digest = hmac.digest(self._key, b"%d:%b:%b" % (len(user), user, password), hashlib.sha256)
        if self._yes.has(digest):
            return None
        if self._no.has(digest):
            return HTTPStatus.UNAUTHORIZED
        if not self._comparing.acquire(timeout=_BUSY_SECONDS):
            return HTTPStatus.SERVICE_UNAVAILABLE
        try:
            right = self._compare(user, password)
        finally:
            self._comparing.release()
        (self._yes if right else self._no).add(digest)
        return None if right else HTTPStatus.UNAUTHORIZED

    def _compare(self, user: bytes, password: bytes) -> bool:
        known = self._users.get(user.decode("utf-8", "replace"))
        try:
            matches = self._matches(password[:_BCRYPT_BYTES], (known or self._nobody).encode())
        except ValueError:  # a NUL byte in it, to older versions of the library
            return False
        return matches and known is not None


def _credentials(authorization: str) -> tuple[bytes, bytes] | None:
    scheme, _, encoded = authorization.partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        user, colon, password = base64.b64decode(encoded.strip(), validate=True).partition(b":")
    except (binascii.Error, ValueError):
        return None
    return (user, password) if colon else None


@dataclass(frozen=True, slots=True)
class Protection:
    """What stands before the routes: encryption, headers that every answer gets, and passwords. None is none."""

    tls: Tls | None = None
    headers: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    users: BasicAuth | None = None
