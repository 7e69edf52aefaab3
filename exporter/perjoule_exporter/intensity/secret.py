"""A token, and the file that it comes from: the only way in, so that it stands in no command line or environment.

The value shows in no repr and in no message. What a token is good for, its provider says.
"""

import logging
import stat
from pathlib import Path

from perjoule.errors import IntensityError

_LOG = logging.getLogger(__name__)

MOST_BYTES = 8192
"""Longer than any token; a file above this is something else."""


class Secret:
    """A text that prints as stars."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        """Return the text, for the request that needs it."""
        return self._text

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and self._text == other._text

    def __hash__(self) -> int:
        return hash(self._text)

    def __repr__(self) -> str:
        return "Secret(***)"


class TokenFile:
    """The file of ``--carbon.token-file``. It is read before each request, so a new token needs no restart."""

    def __init__(self, path: Path, what: str) -> None:
        """``what`` the file must hold: ``token`` or ``user:password``."""
        self.path = path
        self._what = what
        self._warned = False

    def read(self) -> Secret:
        """Return what the file holds now.

        Raises:
            IntensityError: it cannot be read, or holds no such thing. The message holds nothing of its content.
        """
        try:
            if not self.path.is_file():
                missing = "is no file" if self.path.exists() else "does not exist"
                raise IntensityError(f"the token file {self.path} {missing}")
            with self.path.open("rb") as file:
                content = file.read(MOST_BYTES + 1)
                mode = self.path.stat().st_mode
        except OSError as error:
            raise IntensityError(f"the token file {self.path} cannot be read: {error.strerror}") from None
        self._warn_once(mode)
        return self._checked(content)

    def _checked(self, content: bytes) -> Secret:
        try:
            text = content.decode().strip()
        except UnicodeDecodeError:
            text = ""
        # A header with a line break or a control character in it would be refused with its value in the message.
        if not text or len(content) > MOST_BYTES or not text.isprintable():
            raise IntensityError(f"the token file {self.path} must hold one line with the {self._what}")
        if self._what == "token" and (not text.isascii() or " " in text):
            raise IntensityError(f"the token file {self.path} must hold one token, of ASCII without spaces")
        if self._what == "user:password" and ":" not in text:
            raise IntensityError(f"the token file {self.path} must hold user:password")
        return Secret(text)

    def _warn_once(self, mode: int) -> None:
        if mode & (stat.S_IROTH | stat.S_IWOTH) and not self._warned:
            self._warned = True
            _LOG.warning("every user of this machine can read the token file %s: chmod 600 %s", self.path, self.path)
