"""Hugging Face's own client against the real program."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from perjoule_server import samples
from tests.server.fakes import Running

SESSION = Path(__file__).with_name("hub_session.py")


@pytest.fixture(scope="module")
def told(served: Running, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """What a program that uses the client got."""
    folder = tmp_path_factory.mktemp("media")
    png, wav = folder / "a.png", folder / "a.wav"
    png.write_bytes(samples.png())
    wav.write_bytes(samples.wav())
    environment = {name: value for name, value in os.environ.items() if name != "HF_HUB_OFFLINE"}
    command = [sys.executable, str(SESSION), served.url, str(png), str(wav)]
    ran = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=100)
    assert ran.returncode == 0, ran.stderr[-3000:]
    return json.loads(ran.stdout)


def test_every_task_that_the_client_has_a_method_for(told: Any) -> None:
    """Each is answered in a form that it reads; zero-shot under the client's name of it."""
    assert len(told["tasks"]) == 13
    assert all(value not in (None, "", []) for value in told["tasks"].values())
    assert told["tasks"]["feature-extraction"][0] == 1
    assert sorted(told["tasks"]["zero-shot-classification"]) == ["a", "b"]


def test_streamed_text(told: Any) -> None:
    """One event a token, the pieces add up to the text in one piece, and the last event has it whole."""
    stream = told["stream"]
    assert "".join(stream["pieces"]) == "".join(stream["plain"]) == stream["last"] == stream["whole"]
    assert len(stream["pieces"]) == stream["tokens"]
    assert stream["indices"] == list(range(1, stream["tokens"] + 1))
    assert stream["reason"] == ("stop_sequence" if stream["whole"].endswith("e") else "length")
    assert stream["energy"] == "unknown"


def test_chats(told: Any) -> None:
    """In one piece, streamed, and with the model's name: the same words for the same seed."""
    chat = told["chat"]
    assert chat["whole"] == chat["streamed"] == chat["named"]
    assert chat["tokens"] == 12


def test_the_asynchronous_client(told: Any) -> None:
    """Streams at once are what each is alone."""
    assert told["async"]["together"] == told["async"]["alone"]
    assert told["async"]["label"] in {"POSITIVE", "NEGATIVE"}


def test_refusals_are_raised(told: Any) -> None:
    """As the client's own error, with the server's message."""
    lengths, full, blank = told["refusals"]
    assert "422 parameters.max_new_tokens must be" in lengths
    assert full == "422 parameters.return_full_text is not supported in a stream"
    assert blank == "422 inputs is empty"
