"""What the documents show is run against the real program: curl lines, and the examples of the API's description."""

import json
import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.server.fakes import Running
from tests.server.test_program import started

ROOT = Path(__file__).parents[3]
ADMIN = "an-admins-token-of-the-tests"
PAGES = ("server/README.md", "docs/clients.md")


def curl_lines(page: str) -> list[str]:
    """Return the curl commands of a page, lines that go on joined."""
    text = re.sub(r"\\\n\s*", "", (ROOT / page).read_text(encoding="utf-8"))
    return re.findall(r"^ {4}(curl .*)$", text, re.MULTILINE)


@pytest.mark.parametrize("page", PAGES)
def test_curl_lines_are_answered(served: Running, page: str, tmp_path: Path) -> None:
    """Each gets 200 and an answer of its kind, as it stands, run where the page is read: in the repository's root."""
    lines = [line for line in curl_lines(page) if "$ADMIN" not in line]
    assert len(lines) >= 3
    (tmp_path / "loadgen").symlink_to(ROOT / "loadgen")
    for line in lines:
        check(line, ran(line, served.port, tmp_path), tmp_path)


def test_curl_lines_of_an_admin_are_answered(tmp_path: Path) -> None:
    """By a server that has tokens, to whom has the admin's."""
    tokens = tmp_path / "tokens"
    tokens.write_text(f"{ADMIN} admin\n")
    tokens.chmod(0o600)
    lines = [line for line in curl_lines("server/README.md") if "$ADMIN" in line]
    assert len(lines) >= 2
    flags = ("--auth.tokens", str(tokens), "--tasks", "summarization", "--span.socket", str(tmp_path / "no.sock"))
    with started(*flags) as program:
        for line in lines:
            check(line, ran(line, program.server.port, tmp_path), tmp_path)


def ran(line: str, port: int, folder: Path) -> str:
    """Return what a line prints, which must be of an answer with 200."""
    command = line.replace("localhost:8080", f"127.0.0.1:{port}")
    command = command.replace("curl ", "curl -sS -w '%{stderr}%{http_code}' ", 1)
    environment = {**os.environ, "ADMIN": ADMIN}
    done = subprocess.run(
        ["bash", "-c", command], cwd=folder, capture_output=True, text=True, check=False, env=environment
    )
    assert (done.returncode, done.stderr) == (0, "200"), (line, done.stdout)
    return done.stdout


def check(line: str, shown: str, folder: Path) -> None:
    """Hold what a line printed against what it asks for."""
    if found := re.search(r"-o (\S+)", line):
        assert (folder / found[1]).stat().st_size > 100, line
    elif '"stream": true' in line:
        assert shown.startswith("data: {"), line
    elif " | " in line:
        assert shown.strip(), line
    else:
        json.loads(shown)


def test_examples_of_the_description_are_answered(served: Running) -> None:
    """Every example of every route in the OpenAPI document is a valid request."""
    document = served.get("/openapi.json").json
    sent = 0
    for path, operations in document["paths"].items():
        content = operations.get("post", {}).get("requestBody", {}).get("content", {})
        for name, example in content.get("application/json", {}).get("examples", {}).items():
            body = json.dumps(example["value"]).encode()
            reply = served.request("POST", path.replace("{task}", name), body, content_type="application/json")
            assert reply.status == 200, (path, name, reply.body)
            expected = operations["post"]["responses"]["200"]["content"]
            assert reply.headers["content-type"].partition(";")[0] in expected, (path, name)
            sent += 1
    assert sent == 15 + 7


def test_what_is_sent_is_described(served: Running) -> None:
    """The description has each of OpenAI's routes, with its errors and its events."""
    paths: Any = served.get("/openapi.json").json["paths"]
    for path in ("/v1/completions", "/v1/chat/completions", "/v1/embeddings", "/v1/images/generations"):
        responses = paths[path]["post"]["responses"]
        assert {"200", "404", "413", "422", "429", "500", "503", "504"} <= responses.keys()
    assert "text/event-stream" in paths["/v1/chat/completions"]["post"]["responses"]["200"]["content"]
