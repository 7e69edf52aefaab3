"""``--web.config.file``: the exporter-toolkit's YAML for TLS, headers and basic auth, and its changes while running.

What it says is checked to the last key, with the line, before anything of it counts. The file and the certificates that
it names are looked at again at every connection and request; a new one that is bad leaves the old settings in force.
It does not know TLS or passwords (``tls``, ``access``), and no message of it holds a hash, a password or a line of the
file.
"""

import logging
import os
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NoReturn

from perjoule.errors import MissingExtraError, UsageError
from perjoule_exporter.access import BCRYPT_HASH, BasicAuth, Protection
from perjoule_exporter.tls import (
    CIPHERS,
    CLIENT_AUTH,
    CURVES,
    TLS13_CIPHERS,
    UNVERIFIED_CLIENT_AUTH,
    VERSIONS,
    Tls,
    TlsSettings,
    make_tls,
)

if TYPE_CHECKING:
    from yaml.nodes import Node

_LOG = logging.getLogger(__name__)

_State = tuple[int, ...] | None
"""What tells that a file has changed; None while it is not there."""

HEADERS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "Strict-Transport-Security": (),
        "X-Content-Type-Options": ("nosniff",),
        "X-Frame-Options": ("deny", "sameorigin"),
        "X-XSS-Protection": (),
        "Content-Security-Policy": (),
    }
)
"""Headers that may be set, those of the exporter-toolkit, and their values where only some are meaningful."""

_INSTEAD: Mapping[str, str] = MappingProxyType(
    {
        "cert": "put the certificate into a file and name it as cert_file",
        "key": "put the key into a file and name it as key_file",
        "client_ca": "put the certificate into a file and name it as client_ca_file",
        "rate_limit": "the number of connections is bounded without it",
    }
)
"""Keys that the toolkit knows and this program does not, and what to do."""


@dataclass(frozen=True, slots=True)
class WebConfig:
    """What the file says, checked for itself. ``tls`` is None where there is no ``tls_server_config``."""

    tls: TlsSettings | None = None
    headers: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    users: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    wants_http2: bool = False


def read_web_config(path: Path) -> WebConfig:
    """Read and check the file. Relative paths in it are of its folder.

    Raises:
        UsageError: it cannot be read or honoured; the message names file, line and key.
        MissingExtraError: the packages that TLS and basic auth need are not installed.
    """
    try:
        import bcrypt  # noqa: F401 (whoever protects the web side gets to know at the start what is missing)
        import yaml
    except ImportError as error:
        raise MissingExtraError("--web.config.file", "web", error.name or "yaml") from error
    try:
        node = yaml.compose(path.read_text("utf-8"), Loader=yaml.SafeLoader)
    except OSError as error:
        raise UsageError(f"cannot read --web.config.file {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"--web.config.file {path} is not UTF-8") from error
    except yaml.YAMLError as error:
        # Not str(error): it quotes the line, and a hash may stand there.
        mark = getattr(error, "problem_mark", None)
        line = "" if mark is None else f", line {mark.line + 1}"
        raise UsageError(f"{path}{line}: this is not YAML") from error
    except RecursionError as error:
        raise UsageError(f"{path}: this is nested too deep") from error
    return _Reader(path).config(node)


@dataclass(frozen=True, slots=True)
class _Reader:
    """Takes YAML's nodes apart, which know their lines; its own values would not."""

    path: Path

    def config(self, node: "Node | None") -> WebConfig:
        top = self._mapping(node, "", {"tls_server_config", "http_server_config", "basic_auth_users"})
        http = self._mapping(top.get("http_server_config"), "http_server_config", {"http2", "headers"})
        return WebConfig(
            tls=self._tls(top.get("tls_server_config")),
            headers=self._headers(http.get("headers")),
            users=self._users(top.get("basic_auth_users")),
            wants_http2="http2" in http and self._flag(http["http2"]),
        )

    def _tls(self, node: "Node | None") -> TlsSettings | None:
        names = set(TlsSettings.__dataclass_fields__)
        given = self._mapping(node, "tls_server_config", names)
        if node is None or not given:
            return None
        for name in ("cert_file", "key_file"):
            if name not in given:
                self._refuse(node, f"tls_server_config needs {name}")
        values: dict[str, Any] = {
            name: self.path.parent / self._text(given[name]) for name in names & set(given) if name.endswith("_file")
        }
        suites = {*CIPHERS, *TLS13_CIPHERS}
        for name, choices in (("min_version", VERSIONS), ("max_version", VERSIONS), ("client_auth_type", CLIENT_AUTH)):
            if name in given:
                values[name] = self._one_of(given[name], name, choices)
        for name, several in (("cipher_suites", suites), ("curve_preferences", CURVES), ("client_allowed_sans", None)):
            if name in given:
                values[name] = tuple(self._one_of(item, name, several) for item in self._items(given[name], name))
        if "prefer_server_cipher_suites" in given:
            values["prefer_server_cipher_suites"] = self._flag(given["prefer_server_cipher_suites"])
        return TlsSettings(**values)

    def _headers(self, node: "Node | None") -> Mapping[str, str]:
        headers: dict[str, str] = {}
        for name, value in self._mapping(node, "headers", set(HEADERS)).items():
            text = self._text(value)
            allowed = HEADERS[name]
            if text and allowed and text not in allowed:
                self._refuse(value, f"{name} may be {' or '.join(allowed)}")
            if not (text.isascii() and (text.isprintable())):
                self._refuse(value, f"{name} is no text that a header can hold")
            if text:
                headers[name] = text
        return MappingProxyType(headers)

    def _users(self, node: "Node | None") -> Mapping[str, str]:
        users: dict[str, str] = {}
        for user, value in self._mapping(node, "basic_auth_users", None).items():
            user_hash = self._text(value)
            if not BCRYPT_HASH.fullmatch(user_hash):
                self._refuse(value, f"what stands for user {user!r} is no bcrypt hash ($2b$…, 60 characters)")
            if ":" in user:
                self._refuse(value, f"user {user!r} has a colon, which ends the name in basic auth")
            users[user] = user_hash
        return MappingProxyType(users)

    def _mapping(self, node: "Node | None", name: str, known: set[str] | None) -> "dict[str, Node]":
        from yaml.nodes import MappingNode, ScalarNode

        if node is None or (isinstance(node, ScalarNode) and node.tag == "tag:yaml.org,2002:null"):
            return {}
        where = f" in {name}" if name else ""
        if not isinstance(node, MappingNode):
            self._refuse(node, f"{name or 'the file'} must be a mapping of keys to values")
        found: dict[str, Node] = {}
        for key_node, value in node.value:
            key = self._text(key_node)
            if known is not None and key not in known:
                self._refuse(key_node, f"{key!r} is not supported{where}: {_INSTEAD[key]}") if key in _INSTEAD else None
                self._refuse(key_node, f"unknown key {key!r}{where}; known are {', '.join(sorted(known))}")
            if key in found:
                self._refuse(key_node, f"{key!r} stands twice{where}")
            found[key] = value
        return found

    def _one_of(self, node: "Node", name: str, choices: Iterable[str] | None) -> str:
        text = self._text(node)
        if name == "client_auth_type" and text in UNVERIFIED_CLIENT_AUTH:
            self._refuse(
                node, f"client_auth_type {text} takes certificates that nobody has verified, which Python's ssl cannot"
            )
        if choices is not None and text not in choices:
            self._refuse(node, f"{name} {text!r} is unknown here; known are {', '.join(sorted(choices))}")
        return text

    def _items(self, node: "Node", name: str) -> "list[Node]":
        from yaml.nodes import SequenceNode

        if not isinstance(node, SequenceNode):
            self._refuse(node, f"{name} must be a list")
        return list(node.value)

    def _text(self, node: "Node") -> str:
        from yaml.nodes import ScalarNode

        if not isinstance(node, ScalarNode):
            self._refuse(node, "a text was expected")
        return "" if node.tag == "tag:yaml.org,2002:null" else str(node.value)

    def _flag(self, node: "Node") -> bool:
        text = self._text(node).lower()
        if text not in {"true", "false"}:
            self._refuse(node, "true or false was expected")
        return text == "true"

    def _refuse(self, node: "Node", sentence: str) -> NoReturn:
        raise UsageError(f"{self.path}, line {node.start_mark.line + 1}: {sentence}")


class WebConfigFile:
    """The file in force. ``current`` is what counts now; it may be called from any thread."""

    def __init__(self, path: Path) -> None:
        """Read it for the first time.

        Raises:
            UsageError: as ``read_web_config``, or a certificate cannot be used.
        """
        self._path = path
        self._lock = threading.Lock()
        self._seen: dict[Path, _State] = {}
        self._config, self._protection = self._load(None)

    def current(self) -> Protection:
        """Return the protection in force, read anew where a file has changed."""
        if self._changed():
            with self._lock:
                if self._changed():
                    self._reload()
        return self._protection

    def _changed(self) -> bool:
        return any(_state_of(path) != state for path, state in self._seen.items())

    def _reload(self) -> None:
        try:
            self._config, self._protection = self._load((self._config, self._protection))
        except UsageError as error:
            _LOG.warning("%s; the web settings before that stay in force", error)
            return
        _LOG.info("web settings and certificates were read anew from %s", self._path)

    def _load(self, before: tuple[WebConfig, Protection] | None) -> tuple[WebConfig, Protection]:
        # States are taken before reading: what changes meanwhile is seen at the next look. Files of old settings and of
        # bad ones are watched too, for one that is missing may come.
        self._seen = {path: _state_of(path) for path in (self._path, *self._seen)}
        config = read_web_config(self._path)
        if before is not None and (config.tls is None) != (before[0].tls is None):
            raise UsageError(f"{self._path}: TLS is switched on or off by a restart only")
        files = (self._path, *(() if config.tls is None else config.tls.files))
        self._seen = {**self._seen, **{path: _state_of(path) for path in files[1:]}}  # others may be going through it
        protection = _protection(config, before)
        self._seen = {path: self._seen[path] for path in files}
        _announce(None if before is None else before[0], config)
        return config, protection


def _state_of(path: Path) -> _State:
    try:
        found = os.stat(path)  # noqa: PTH116 (a third of the time of Path.stat, at every request)
    except OSError:
        return None
    # The change time also tells of permissions, the inode of a link that now leads elsewhere.
    return (found.st_mtime_ns, found.st_ctime_ns, found.st_size, found.st_ino)


def _protection(config: WebConfig, before: tuple[WebConfig, Protection] | None) -> Protection:
    users: BasicAuth | None = None
    if config.users:
        same = before is not None and before[0].users == config.users
        # A new certificate is no reason to compute every password again.
        users = before[1].users if before is not None and same else BasicAuth(config.users)
    tls: Tls | None = None if config.tls is None else make_tls(config.tls)
    return Protection(tls, config.headers, users)


def _announce(old: WebConfig | None, new: WebConfig) -> None:
    says: tuple[tuple[Callable[[WebConfig], bool], str], ...] = (
        (lambda c: bool(c.users) and c.tls is None, "basic auth without TLS: passwords travel readable for everyone"),
        (lambda c: c.wants_http2, "http2 is accepted in the web configuration; this program speaks HTTP/1.1 only"),
    )
    for holds, sentence in says:
        if holds(new) and not (old is not None and holds(old)):
            _LOG.warning(sentence)
