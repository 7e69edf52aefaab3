"""TLS settings in the words of Go's crypto/tls, as the exporter-toolkit uses them, made into a context of Python's ssl.

What OpenSSL or Python's binding cannot do is refused with a sentence, never left out in silence. Where the settings
come from it does not know.
"""

import ipaddress
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, NoReturn

from perjoule.errors import UsageError

VERSIONS: Mapping[str, ssl.TLSVersion] = MappingProxyType(
    {"TLS12": ssl.TLSVersion.TLSv1_2, "TLS13": ssl.TLSVersion.TLSv1_3}
)

CLIENT_AUTH: Mapping[str, ssl.VerifyMode] = MappingProxyType(
    {
        "NoClientCert": ssl.CERT_NONE,
        "VerifyClientCertIfGiven": ssl.CERT_OPTIONAL,
        "RequireAndVerifyClientCert": ssl.CERT_REQUIRED,
    }
)
UNVERIFIED_CLIENT_AUTH = frozenset({"RequestClientCert", "RequireAnyClientCert", "RequireClientCert"})
"""Go can ask for a certificate and take any. Python's ssl verifies what it asks for."""

CIPHERS: Mapping[str, str] = MappingProxyType(
    {
        "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA": "ECDHE-ECDSA-AES128-SHA",
        "TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA": "ECDHE-ECDSA-AES256-SHA",
        "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA": "ECDHE-RSA-AES128-SHA",
        "TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA": "ECDHE-RSA-AES256-SHA",
        "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256": "ECDHE-ECDSA-AES128-GCM-SHA256",
        "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384": "ECDHE-ECDSA-AES256-GCM-SHA384",
        "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256": "ECDHE-RSA-AES128-GCM-SHA256",
        "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384": "ECDHE-RSA-AES256-GCM-SHA384",
        "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256": "ECDHE-ECDSA-CHACHA20-POLY1305",
        "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256": "ECDHE-RSA-CHACHA20-POLY1305",
    }
)
"""Go's name to OpenSSL's, for TLS 1.2: what Go's ``tls.CipherSuites()`` lists."""

TLS13_CIPHERS = frozenset({"TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256"})
"""Always on with TLS 1.3, and not to be chosen among, in Go as here."""

CURVES: Mapping[str, str] = MappingProxyType(
    {"CurveP256": "prime256v1", "CurveP384": "secp384r1", "CurveP521": "secp521r1", "X25519": "X25519"}
)


@dataclass(frozen=True, slots=True)
class TlsSettings:
    """``tls_server_config``, checked one by one. Names are Go's; paths are resolved."""

    cert_file: Path
    key_file: Path
    client_auth_type: str = "NoClientCert"
    client_ca_file: Path | None = None
    client_allowed_sans: tuple[str, ...] = ()
    cipher_suites: tuple[str, ...] = ()
    curve_preferences: tuple[str, ...] = ()
    min_version: str = "TLS12"
    max_version: str = "TLS13"
    prefer_server_cipher_suites: bool = True

    @property
    def files(self) -> tuple[Path, ...]:
        """Files that the context is made from."""
        return tuple(path for path in (self.cert_file, self.key_file, self.client_ca_file) if path is not None)


@dataclass(frozen=True, slots=True)
class Tls:
    """A context for new connections, and whose certificates it lets in."""

    context: ssl.SSLContext
    allowed_sans: frozenset[str]

    def admits(self, certificate: Mapping[str, Any] | None) -> bool:
        """Return whether a client with this verified certificate may go on: one of its names must be allowed."""
        if not self.allowed_sans:
            return True
        names = (certificate or {}).get("subjectAltName", ())
        return any(_plain(name) in self.allowed_sans for _, name in names)


def make_tls(settings: TlsSettings) -> Tls:
    """Read the files and return what a server needs.

    Raises:
        UsageError: the settings contradict each other, a file cannot be used, or Python's ssl cannot do what is asked.
    """
    _check(settings)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = VERSIONS[_min_version(settings)]
    context.maximum_version = VERSIONS[settings.max_version]
    if not settings.prefer_server_cipher_suites:
        context.options &= ~ssl.OP_CIPHER_SERVER_PREFERENCE
    _set_ciphers(context, settings)
    for curve in settings.curve_preferences:
        context.set_ecdh_curve(CURVES[curve])
    _load_files(context, settings)
    context.verify_mode = CLIENT_AUTH[settings.client_auth_type]
    return Tls(context, frozenset(map(_plain, settings.client_allowed_sans)))


def _check(settings: TlsSettings) -> None:
    asks = CLIENT_AUTH[settings.client_auth_type] is not ssl.CERT_NONE
    if asks and settings.client_ca_file is None:
        _refuse(f"client_auth_type {settings.client_auth_type} needs client_ca_file")
    if settings.client_ca_file is not None and not asks:
        _refuse("client_ca_file without a client_auth_type that verifies: no client would be asked for a certificate")
    if settings.client_allowed_sans and settings.client_auth_type != "RequireAndVerifyClientCert":
        _refuse("client_allowed_sans needs client_auth_type RequireAndVerifyClientCert")
    if VERSIONS[settings.min_version] > VERSIONS[settings.max_version]:
        _refuse(f"min_version {settings.min_version} is over max_version {settings.max_version}")
    if len(settings.curve_preferences) > 1:
        _refuse("curve_preferences: Python's ssl can be held to one curve, not to an order of several")
    if _only_tls13(settings) and settings.max_version == "TLS12":
        _refuse("cipher_suites names none for TLS 1.2, and max_version is TLS12")


def _only_tls13(settings: TlsSettings) -> bool:
    return bool(settings.cipher_suites) and set(settings.cipher_suites) <= TLS13_CIPHERS


def _min_version(settings: TlsSettings) -> str:
    # With no suite for TLS 1.2, no client of TLS 1.2 can be served: Go's handshake fails too.
    return "TLS13" if _only_tls13(settings) else settings.min_version


def _set_ciphers(context: ssl.SSLContext, settings: TlsSettings) -> None:
    names = [CIPHERS[suite] for suite in settings.cipher_suites if suite not in TLS13_CIPHERS]
    if not names:
        return
    try:
        context.set_ciphers(":".join(names))
    except ssl.SSLError:
        _refuse(f"cipher_suites: this OpenSSL has none of {', '.join(names)}")
    missing = set(names) - {cipher["name"] for cipher in context.get_ciphers()}
    if missing:
        _refuse(f"cipher_suites: this OpenSSL does not have {', '.join(sorted(missing))}")


def _load_files(context: ssl.SSLContext, settings: TlsSettings) -> None:
    for path in settings.files:
        try:
            path.read_bytes()
        except OSError as error:
            raise UsageError(f"cannot read {path}: {error.strerror}") from error
    try:
        context.load_cert_chain(settings.cert_file, settings.key_file, password=_no_password)
    except (ssl.SSLError, OSError, ValueError) as error:
        reason = getattr(error, "reason", None) or "no PEM certificate and key that fit together"
        raise UsageError(
            f"cannot use cert_file {settings.cert_file} with key_file {settings.key_file}: {reason}"
        ) from error
    if settings.client_ca_file is not None:
        try:
            context.load_verify_locations(settings.client_ca_file)
        except (ssl.SSLError, OSError) as error:
            raise UsageError(f"client_ca_file {settings.client_ca_file} holds no PEM certificate") from error


def _no_password() -> NoReturn:
    # Without this OpenSSL would ask at the terminal, if there is one.
    raise UsageError("key_file is encrypted: a key without a passphrase is needed")


def _plain(name: str) -> str:
    """Return a name as it is, and an IP address in its one canonical spelling."""
    try:
        return str(ipaddress.ip_address(name))
    except ValueError:
        return name


def _refuse(sentence: str) -> NoReturn:
    raise UsageError(sentence)
