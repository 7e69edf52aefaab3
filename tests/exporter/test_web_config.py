"""The web configuration file: what it may say, and what is said of the rest."""

import logging
import sys
from pathlib import Path

import pytest

from perjoule.errors import MissingExtraError, UsageError
from perjoule_exporter.tls import TlsSettings
from perjoule_exporter.webconfig import WebConfig, WebConfigFile, read_web_config

HASH = "$2y$10$X0h1gDsPszWURQaxFh.zoubFi6DXncSjhoQNJgRrnGs7EsimhC7zG"
"""The toolkit's own example; the password is of no use here."""

CERT = "tls_server_config:\n  cert_file: a.crt\n  key_file: /etc/a.key\n"


def read(folder: Path, text: str) -> WebConfig:
    path = folder / "web.yml"
    path.write_text(text, encoding="utf-8")
    return read_web_config(path)


def test_everything_that_may_be_said(tmp_path: Path) -> None:
    """Each key lands in its place; relative paths are of the file's folder."""
    config = read(
        tmp_path,
        f"""
        tls_server_config:
          cert_file: tls/a.crt
          key_file: /etc/a.key
          client_auth_type: RequireAndVerifyClientCert
          client_ca_file: ca.crt
          client_allowed_sans: [prometheus.example, 10.0.0.1]
          cipher_suites: [TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256]
          curve_preferences: [CurveP256]
          min_version: TLS12
          max_version: TLS12
          prefer_server_cipher_suites: false
        http_server_config:
          http2: true
          headers:
            X-Frame-Options: deny
            Content-Security-Policy: default-src 'self'
            X-XSS-Protection: ""
        basic_auth_users:
          prometheus: {HASH}
          1234: "{HASH}"
        """,
    )
    assert config.tls == TlsSettings(
        tmp_path / "tls/a.crt",
        Path("/etc/a.key"),
        "RequireAndVerifyClientCert",
        tmp_path / "ca.crt",
        ("prometheus.example", "10.0.0.1"),
        ("TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",),
        ("CurveP256",),
        "TLS12",
        "TLS12",
        prefer_server_cipher_suites=False,
    )
    assert config.headers == {"X-Frame-Options": "deny", "Content-Security-Policy": "default-src 'self'"}
    assert config.users == {"prometheus": HASH, "1234": HASH}
    assert config.wants_http2


@pytest.mark.parametrize(
    "text", ["", "# nothing\n", "{}", "tls_server_config:\n", "tls_server_config: {}\nbasic_auth_users:\n"]
)
def test_a_file_that_says_nothing(tmp_path: Path, text: str) -> None:
    """Is plain HTTP for everyone, as with the toolkit."""
    assert read(tmp_path, text) == WebConfig()


@pytest.mark.parametrize(
    ("text", "line", "sentence"),
    [
        ("tls_server_confg: {}", 1, "unknown key 'tls_server_confg'; known are basic_auth_users, http_server_config"),
        (f"basic_auth_users: {'[' * 5000}", None, "nested too deep"),
        (CERT + "  cert_fle: b", 4, "unknown key 'cert_fle' in tls_server_config"),
        (CERT + "  min_version: TLS11", 4, "min_version 'TLS11' is unknown here; known are TLS12, TLS13"),
        (CERT + "  min_version: [TLS12]", 4, "a text was expected"),
        (CERT + "  cipher_suites: [TLS_RSA_WITH_RC4_128_SHA]", 4, "cipher_suites 'TLS_RSA_WITH_RC4_128_SHA' is unk"),
        (CERT + "  cipher_suites: TLS_AES_128_GCM_SHA256", 4, "cipher_suites must be a list"),
        (CERT + "  curve_preferences:\n  - P256", 5, "curve_preferences 'P256' is unknown here; known are CurveP256"),
        (CERT + "  client_auth_type: RequireAnyClientCert", 4, "takes certificates that nobody has verified"),
        (CERT + "  client_auth_type: RequestClientCert", 4, "takes certificates that nobody has verified"),
        (CERT + "  client_auth_type: Always", 4, "client_auth_type 'Always' is unknown here"),
        (CERT + "  prefer_server_cipher_suites: maybe", 4, "true or false was expected"),
        (CERT + "  cert_file: b", 4, "'cert_file' stands twice in tls_server_config"),
        (CERT + "  key: |\n    -----BEGIN", 4, "'key' is not supported in tls_server_config: put the key into a file"),
        ("tls_server_config:\n  key_file: a", 2, "tls_server_config needs cert_file"),
        ("tls_server_config:\n  cert_file: a", 2, "tls_server_config needs key_file"),
        ("tls_server_config: [a]", 1, "tls_server_config must be a mapping"),
        ("- a", 1, "the file must be a mapping"),
        ("rate_limit:\n  burst: 3", 1, "'rate_limit' is not supported"),
        ("http_server_config:\n  http3: true", 2, "unknown key 'http3' in http_server_config"),
        ("http_server_config:\n  headers:\n    Server: x", 3, "unknown key 'Server' in headers"),
        ("http_server_config:\n  headers:\n    X-Frame-Options: maybe", 3, "X-Frame-Options may be deny or sameorigin"),
        ('http_server_config:\n  headers:\n    X-XSS-Protection: "a\\r\\nb"', 3, "no text that a header can hold"),
        ("basic_auth_users:\n  a: Tr0ub4dor", 2, "what stands for user 'a' is no bcrypt hash"),
        ("basic_auth_users:\n  a: null", 2, "what stands for user 'a' is no bcrypt hash"),
        (f"basic_auth_users:\n  'a:b': {HASH}", 2, "user 'a:b' has a colon"),
        ("basic_auth_users:\n  a: Tr0ub4dor: x", 2, "this is not YAML"),
        ("basic_auth_users:\n  ? [Tr0ub4dor]\n  : x", 2, "a text was expected"),
        ("a: 1\n---\nb: 2", 2, "this is not YAML"),
        ("basic_auth_users:\n  a: \x01Tr0ub4dor", None, "this is not YAML"),
    ],
)  # fmt: skip
def test_what_cannot_be_honoured(tmp_path: Path, text: str, line: int | None, sentence: str) -> None:
    """Is named with its line, and no secret is repeated."""
    with pytest.raises(UsageError) as raised:
        read(tmp_path, text)
    message = str(raised.value)
    assert message.startswith(str(tmp_path / "web.yml") + (f", line {line}: " if line else ": "))
    assert sentence in message
    assert "Tr0ub4dor" not in message


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    """A sentence with its name."""
    with pytest.raises(UsageError, match=r"cannot read --web\.config\.file .*none\.yml: No such file"):
        read_web_config(tmp_path / "none.yml")
    with pytest.raises(UsageError, match="Is a directory"):
        read_web_config(tmp_path)
    (tmp_path / "latin.yml").write_bytes(b"\xff\xfe\xfa")
    with pytest.raises(UsageError, match="is not UTF-8"):
        read_web_config(tmp_path / "latin.yml")


@pytest.mark.parametrize("module", ["yaml", "bcrypt"])
def test_missing_packages_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, module: str) -> None:
    """With the pip line."""
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(MissingExtraError, match=r"--web\.config\.file needs .*pip install 'perjoule\[web\]'"):
        read(tmp_path, "")


def test_passwords_without_tls_are_warned_of_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """At the start, and not again with every change."""
    path = tmp_path / "web.yml"
    path.write_text(f"basic_auth_users: {{a: {HASH}}}\nhttp_server_config: {{http2: true}}", encoding="utf-8")
    with caplog.at_level(logging.INFO):
        file = WebConfigFile(path)
        path.write_text(f"basic_auth_users: {{b: {HASH}}}", encoding="utf-8")
        assert file.current().users is file.current().users
    assert caplog.text.count("basic auth without TLS") == 1
    assert caplog.text.count("HTTP/1.1 only") == 1
    assert caplog.text.count("were read anew") == 1
    assert HASH not in caplog.text


def test_a_bad_change_keeps_the_old_settings_and_says_so_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Until the next change; a file that is gone is a change too."""
    path = tmp_path / "web.yml"
    path.write_text("http_server_config: {headers: {X-Frame-Options: deny}}", encoding="utf-8")
    file = WebConfigFile(path)
    first = file.current()
    path.write_text("http_server_config: {headers: {X-Frame-Options: none}}", encoding="utf-8")
    assert [file.current() for _ in range(3)] == [first] * 3
    assert caplog.text.count("the web settings before that stay in force") == 1
    path.unlink()
    assert [file.current() for _ in range(3)] == [first] * 3
    assert caplog.text.count("No such file or directory; the web settings before that stay in force") == 1
    path.write_text("http_server_config: {headers: {X-Frame-Options: sameorigin}}", encoding="utf-8")
    assert file.current().headers == {"X-Frame-Options": "sameorigin"}


def test_unchanged_users_keep_what_was_computed(tmp_path: Path) -> None:
    """A change elsewhere in the file makes nobody wait for bcrypt again."""
    path = tmp_path / "web.yml"
    path.write_text(f"basic_auth_users: {{a: {HASH}}}", encoding="utf-8")
    file = WebConfigFile(path)
    first = file.current()
    path.write_text(f"basic_auth_users: {{a: {HASH}}}\nhttp_server_config: {{http2: false}}", encoding="utf-8")
    assert file.current() is not first
    assert file.current().users is first.users
