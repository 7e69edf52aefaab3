"""``perjoule-grafana publish`` against a server that answers as Grafana's API does."""

import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import trustme

from perjoule_grafana.__main__ import main
from perjoule_grafana.publish import FOLDER_UID, SOURCE_UID, dashboards
from tests.grafana.recording_grafana import TOKEN, RecordingGrafana, serving

BOARDS = {board["uid"]: board for board in dashboards()}
FIRST = next(iter(BOARDS))
PROMETHEUS = ("--prometheus", "http://prometheus:9090")


@pytest.fixture
def grafana(monkeypatch: pytest.MonkeyPatch) -> Iterator[RecordingGrafana]:
    """An empty Grafana, whose token is in the environment."""
    monkeypatch.setenv("GRAFANA_TOKEN", TOKEN)
    with serving() as server:
        yield server


def publish(grafana: RecordingGrafana, *flags: str) -> int:
    """Run the command against the server."""
    return main(["publish", "--url", grafana.url, *flags])


def plain(board: dict[str, Any]) -> dict[str, Any]:
    """Return a dashboard without what Grafana adds of its own."""
    return {key: value for key, value in board.items() if key not in {"id", "version"}}


def test_an_empty_grafana_gets_everything(grafana: RecordingGrafana, capsys: pytest.CaptureFixture[str]) -> None:
    """Data source, folder and every dashboard as generated, in that folder, by their uids; one line for each."""
    assert publish(grafana, *PROMETHEUS) == 0
    assert grafana.sources[SOURCE_UID]["url"] == "http://prometheus:9090"
    assert grafana.sources[SOURCE_UID]["jsonData"] == {"httpMethod": "POST", "timeInterval": "15s"}
    assert grafana.folders[FOLDER_UID]["title"] == "Perjoule"
    assert {uid: plain(held["dashboard"]) for uid, held in grafana.dashboards.items()} == BOARDS
    assert {held["meta"]["folderUid"] for held in grafana.dashboards.values()} == {FOLDER_UID}
    said = capsys.readouterr().out.splitlines()
    assert said[0] == f"Grafana 12.1.1 at {grafana.url}"
    assert said[-1] == f"{len(BOARDS) + 2} created, 0 updated, 0 unchanged"


def test_publishing_twice_writes_once(grafana: RecordingGrafana, capsys: pytest.CaptureFixture[str]) -> None:
    """The second time nothing differs, so nothing is written and Grafana's history gets no new version."""
    publish(grafana, *PROMETHEUS)
    before = len(grafana.written())
    capsys.readouterr()
    assert publish(grafana, *PROMETHEUS) == 0
    assert len(grafana.written()) == before
    assert capsys.readouterr().out.splitlines()[-1] == f"0 created, 0 updated, {len(BOARDS) + 2} unchanged"


def test_what_was_changed_by_hand_is_put_right_alone(grafana: RecordingGrafana) -> None:
    """One dashboard that differs is one write, of a new version of it."""
    publish(grafana)
    grafana.dashboards[FIRST]["dashboard"]["title"] = "Mine"
    before = len(grafana.written())
    assert publish(grafana) == 0
    (request,) = grafana.written()[before:]
    assert request.body["dashboard"]["uid"] == FIRST
    assert request.body["overwrite"] is False
    assert grafana.dashboards[FIRST]["dashboard"] == BOARDS[FIRST] | {
        "id": request.body["dashboard"]["id"],
        "version": 2,
    }


def test_a_dashboard_that_was_moved_comes_back(grafana: RecordingGrafana) -> None:
    """The folder is part of what is published."""
    publish(grafana)
    grafana.dashboards[FIRST]["meta"]["folderUid"] = "elsewhere"
    assert publish(grafana) == 0
    assert grafana.dashboards[FIRST]["meta"]["folderUid"] == FOLDER_UID


def test_the_folder_can_be_renamed(grafana: RecordingGrafana) -> None:
    """``--folder`` names it; it stays the same folder."""
    publish(grafana)
    assert publish(grafana, "--folder", "Energy") == 0
    assert [folder["title"] for folder in grafana.folders.values()] == ["Energy"]


def test_a_dry_run_changes_nothing_and_shows_the_difference(
    grafana: RecordingGrafana, capsys: pytest.CaptureFixture[str]
) -> None:
    """Names what is new, and of what differs the lines, old with a minus and new with a plus."""
    publish(grafana, *PROMETHEUS)
    del grafana.dashboards[FIRST]
    grafana.sources[SOURCE_UID]["url"] = "http://old:9090"
    before = len(grafana.written())
    capsys.readouterr()
    assert publish(grafana, *PROMETHEUS, "--dry-run") == 0
    assert len(grafana.written()) == before
    said = capsys.readouterr().out
    assert f"would create dashboard {BOARDS[FIRST]['title']}" in said
    assert [line.strip() for line in said.splitlines() if "url" in line] == [
        '- "url": "http://old:9090",', '+ "url": "http://prometheus:9090",',
    ]  # fmt: skip
    assert said.splitlines()[-1] == f"1 would be created, 1 would be updated, {len(BOARDS)} unchanged"


def test_a_dry_run_on_an_empty_grafana_writes_nothing(grafana: RecordingGrafana) -> None:
    """Not even the folder."""
    assert publish(grafana, *PROMETHEUS, "--dry-run") == 0
    assert grafana.written() == []


def test_what_others_set_in_the_data_source_stays(grafana: RecordingGrafana) -> None:
    """Passwords, default and other settings are Grafana's administrator's."""
    publish(grafana, *PROMETHEUS)
    grafana.sources[SOURCE_UID] |= {"basicAuth": True, "basicAuthUser": "p", "isDefault": True}
    grafana.sources[SOURCE_UID]["jsonData"]["prometheusType"] = "Mimir"
    assert publish(grafana, *PROMETHEUS, "--scrape-interval", "30s") == 0
    held = grafana.sources[SOURCE_UID]
    assert (held["basicAuth"], held["basicAuthUser"], held["isDefault"]) == (True, "p", True)
    assert held["jsonData"] == {"httpMethod": "POST", "timeInterval": "30s", "prometheusType": "Mimir"}


def test_without_prometheus_no_data_source_is_touched(grafana: RecordingGrafana) -> None:
    """A Grafana that has one already keeps it; nobody who may not edit data sources is refused."""
    assert publish(grafana) == 0
    assert not [request for request in grafana.asked if "datasources" in request.path]


def test_the_token_of_a_file_comes_first(
    grafana: RecordingGrafana, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``--token-file`` wins over the variable; its last newline does not count."""
    monkeypatch.setenv("GRAFANA_TOKEN", "another")
    file = tmp_path / "token"
    file.write_text(f"{TOKEN}\n")
    assert publish(grafana, "--token-file", str(file)) == 0


def test_a_grafana_below_a_path(monkeypatch: pytest.MonkeyPatch) -> None:
    """The address may have a path, with or without a slash at its end."""
    monkeypatch.setenv("GRAFANA_TOKEN", TOKEN)
    with serving(prefix="/grafana") as server:
        assert main(["publish", "--url", f"{server.url}/"]) == 0
        assert set(server.dashboards) == set(BOARDS)


REFUSALS = [
    ("GET", f"/api/folders/{FOLDER_UID}", 401, {"message": "Invalid API key"}, "401, the token is missing, wrong or"),
    ("POST", "/api/folders", 403, {"message": "You'll need additional permissions"}, "want Editor"),
    ("POST", "/api/datasources", 403, {"message": "no"}, "a data source wants Admin"),
    (
        "POST",
        "/api/dashboards/db",
        412,
        {"status": "version-mismatch", "message": "m"},
        "somebody changed it meanwhile",
    ),
    ("POST", "/api/dashboards/db", 412, {"status": "name-exists", "message": "m"}, "has its title"),
    ("POST", "/api/dashboards/db", 412, {"status": "plugin-dashboard", "message": "m"}, "belongs to a plugin"),
    ("POST", "/api/dashboards/db", 404, {"message": "Folder not found"}, "404, it is not there"),
    ("POST", "/api/datasources", 409, {"message": "data source with the same name"}, "another one of that name"),
    ("POST", "/api/dashboards/db", 400, {"message": "Cannot save provisioned dashboard"}, "Cannot save provisioned"),
    ("POST", "/api/dashboards/db", 500, {"message": "database is locked"}, "Grafana says 500"),
    ("GET", "/api/health", 404, {"message": "Not found"}, "is no Grafana"),
    ("GET", "/api/health", 200, "<html>log in</html>", "does not answer as Grafana does"),
    ("GET", f"/api/folders/{FOLDER_UID}", 200, "<html>log in</html>", "is a login page before it?"),
    ("GET", f"/api/dashboards/uid/{FIRST}", 200, "no JSON", "does not answer as Grafana does"),
]


@pytest.mark.parametrize(("method", "path", "status", "said", "expected"), REFUSALS)
def test_a_refusal_says_what_to_do(
    grafana: RecordingGrafana, capsys: pytest.CaptureFixture[str], method: str, path: str, status: int, said: Any,
    expected: str,
) -> None:  # fmt: skip
    """Exit code 1 and one line with the status and what helps; no traceback, and never the token."""
    grafana.instead[method, path] = (status, said)
    assert publish(grafana, *PROMETHEUS) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("perjoule-grafana: ")
    assert expected in line
    assert TOKEN not in line


def test_without_a_token_grafana_s_401_is_explained(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The line names the variable and the flag."""
    monkeypatch.delenv("GRAFANA_TOKEN", raising=False)
    with serving() as server:
        assert publish(server) == 1
    said = capsys.readouterr().err
    assert "GRAFANA_TOKEN" in said
    assert "--token-file" in said


def test_a_change_in_between_is_refused_and_not_lost(
    grafana: RecordingGrafana, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Somebody saves between our reading and our writing: 412, theirs stays, the next call mends it."""
    publish(grafana)
    grafana.dashboards[FIRST]["dashboard"]["title"] = "Mine"
    answer = grafana.answer

    def saved_in_between(request: Any) -> Any:
        if request.method == "POST" and request.path == "/api/dashboards/db":
            grafana.dashboards[FIRST]["dashboard"]["version"] += 1
            monkeypatch.setattr(grafana, "answer", answer)
        return answer(request)

    monkeypatch.setattr(grafana, "answer", saved_in_between)
    assert publish(grafana) == 1
    assert "call this again" in capsys.readouterr().err
    assert grafana.dashboards[FIRST]["dashboard"]["title"] == "Mine"
    assert publish(grafana) == 0
    assert plain(grafana.dashboards[FIRST]["dashboard"]) == BOARDS[FIRST]


def test_provisioned_things_are_left_to_their_files(
    grafana: RecordingGrafana, capsys: pytest.CaptureFixture[str]
) -> None:
    """What files hold cannot be saved: the same is fine, a difference is told before anything is tried."""
    publish(grafana, *PROMETHEUS)
    grafana.sources[SOURCE_UID]["readOnly"] = True
    grafana.dashboards[FIRST]["meta"]["provisioned"] = True
    assert publish(grafana, *PROMETHEUS) == 0
    grafana.dashboards[FIRST]["dashboard"]["title"] = "Of a file"
    before = len(grafana.written())
    assert publish(grafana, *PROMETHEUS) == 1
    assert "comes from provisioning files" in capsys.readouterr().err
    assert len(grafana.written()) == before


def test_nobody_there(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit code 2 and one line that names the address."""
    monkeypatch.setenv("GRAFANA_TOKEN", TOKEN)
    with socket.socket() as bound:  # bound and not listening: refused
        bound.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{bound.getsockname()[1]}"
        assert main(["publish", "--url", url]) == 2
    assert capsys.readouterr().err == f"perjoule-grafana: no Grafana answers at {url} (--url): Connection refused\n"


def test_a_name_that_nobody_knows(capsys: pytest.CaptureFixture[str]) -> None:
    """Exit code 2 and one line."""
    assert main(["publish", "--url", "http://grafana.invalid:3000"]) == 2
    assert capsys.readouterr().err.startswith("perjoule-grafana: no Grafana answers at http://grafana.invalid:3000")


def test_a_certificate_is_verified(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of an unknown CA: exit code 2, nothing told to it, the flag is named; with ``--ca-file`` it is trusted."""
    monkeypatch.setenv("GRAFANA_TOKEN", TOKEN)
    ca = trustme.CA()
    ca.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    certificate = tmp_path / "server.pem"
    ca.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(str(certificate))
    with serving(certificate) as server:
        assert publish(server) == 2
        assert server.asked == []
        said = capsys.readouterr().err
        assert "--ca-file" in said
        assert "certificate" in said
        assert publish(server, "--ca-file", str(tmp_path / "ca.pem")) == 0
        assert set(server.dashboards) == set(BOARDS)


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        (("--url", "grafana:3000"), "--url wants an address"),
        (("--url", "http://grafana:port"), "--url wants an address"),
        (("--url", "https://grafana/?verify=false"), "--url wants an address"),
        (("--url", "http://admin:admin@grafana:3000"), "no user or password in --url"),
        (("--prometheus", "http://me:secret@p:9090"), "no user or password in --prometheus"),
        (("--prometheus", "p:9090"), "--prometheus wants an address"),
        ((*PROMETHEUS, "--scrape-interval", "often"), "--scrape-interval wants a duration"),
        (("--token-file", "/nonexistent/token"), "cannot be read"),
        (("--ca-file", "/nonexistent/ca.pem"), "cannot be read"),
    ],
)
def test_what_cannot_be_honoured_is_a_usage_error(
    capsys: pytest.CaptureFixture[str], flags: tuple[str, ...], expected: str
) -> None:
    """Exit code 2, one line, and no secret in it."""
    assert main(["publish", *flags]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert expected in line
    assert "secret" not in line


@pytest.mark.parametrize("text", ["", "  \n", "two tokens", "a\nb", "gläser"])
def test_a_file_without_one_token_is_a_usage_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str
) -> None:
    """Exit code 2; what the file holds is not shown."""
    file = tmp_path / "token"
    file.write_text(text)
    assert main(["publish", "--token-file", str(file)]) == 2
    assert "token-file" in capsys.readouterr().err


def test_no_flag_takes_a_token(capsys: pytest.CaptureFixture[str]) -> None:
    """A command line is readable for every user of a machine."""
    with pytest.raises(SystemExit):
        main(["publish", "--help"])
    assert not {word for word in capsys.readouterr().out.split() if word in {"--token", "--password", "--user"}}
