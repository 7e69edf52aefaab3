"""A server that answers as Grafana's HTTP API does, from what it was given, and records every request.

Answers have the shapes of Grafana's documents: dashboards with ``meta``, folders, data sources by uid, annotations in
milliseconds; statuses as there (404 for what is not there, 412 with a ``status`` for a version that is not the last).
"""

import json
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

TOKEN = "glsa_of_the_tests"  # noqa: S105 (no secret)

Reply = tuple[int, Any]


@dataclass(frozen=True)
class Asked:
    """One request: method, path with its query, headers (names in small letters), and its JSON."""

    method: str
    path: str
    headers: dict[str, str]
    body: Any


@dataclass
class RecordingGrafana:
    """What the server holds, what it was asked, and what it answers ``instead`` (by method and path)."""

    url: str = ""
    sources: dict[str, dict[str, Any]] = field(default_factory=dict)
    folders: dict[str, dict[str, Any]] = field(default_factory=dict)
    dashboards: dict[str, dict[str, Any]] = field(default_factory=dict)
    annotations: list[dict[str, Any]] = field(default_factory=list)
    instead: dict[tuple[str, str], Reply] = field(default_factory=dict)
    asked: list[Asked] = field(default_factory=list)
    ids: int = 100

    def written(self) -> list[Asked]:
        """Return the requests that change something."""
        return [request for request in self.asked if request.method != "GET"]

    def answer(self, request: Asked) -> Reply:
        """Return status and JSON."""
        self.asked.append(request)
        path = urlsplit(request.path).path
        if (request.method, path) in self.instead:
            return self.instead[request.method, path]
        if path == "/api/health":
            return 200, {"commit": "c", "database": "ok", "version": "12.1.1"}
        if request.headers.get("authorization") != f"Bearer {TOKEN}":
            return 401, {"extra": None, "message": "Unauthorized", "messageId": "auth.unauthorized", "statusCode": 401}
        kind, *rest = path.removeprefix("/api/").split("/")
        handlers = {
            "datasources": self._source,
            "folders": self._folder,
            "dashboards": self._dashboard,
            "annotations": self._annotation,
        }
        return handlers[kind](request, rest) if kind in handlers else (404, {"message": "Not found"})

    def _source(self, request: Asked, rest: list[str]) -> Reply:
        if request.method == "POST":
            if any(held["name"] == request.body["name"] for held in self.sources.values()):
                return 409, {"message": "data source with the same name already exists"}
            self.ids += 1
            held = {"id": self.ids, "orgId": 1, "version": 1, "readOnly": False, "isDefault": False, "basicAuth": False}
            self.sources[request.body["uid"]] = held | request.body
            return 200, {"datasource": self.sources[request.body["uid"]], "id": self.ids, "message": "Datasource added"}
        held = self.sources.get(rest[-1], {})
        if not held:
            return 404, {"message": "Data source not found"}
        if request.method == "PUT":
            self.sources[rest[-1]] = held | request.body | {"version": held["version"] + 1}
            return 200, {"datasource": self.sources[rest[-1]], "message": "Datasource updated"}
        return 200, held

    def _folder(self, request: Asked, rest: list[str]) -> Reply:
        if request.method == "POST":
            self.ids += 1
            self.folders[request.body["uid"]] = {"id": self.ids, "version": 1, **request.body}
            return 200, self.folders[request.body["uid"]]
        held = self.folders.get(rest[-1])
        if held is None:
            return 404, {"message": "folder not found", "status": "not-found"}
        if request.method == "PUT":
            if request.body.get("version") != held["version"]:
                return 412, {"message": "the folder has been changed by someone else", "status": "version-mismatch"}
            self.folders[rest[-1]] = held | {"title": request.body["title"], "version": held["version"] + 1}
        return 200, self.folders[rest[-1]]

    def _dashboard(self, request: Asked, rest: list[str]) -> Reply:
        if request.method == "POST":
            return self._saved(request.body)
        held = self.dashboards.get(rest[-1])
        return (404, {"message": "Dashboard not found"}) if held is None else (200, held)

    def _saved(self, body: dict[str, Any]) -> Reply:
        board = body["dashboard"]
        held = self.dashboards.get(board["uid"])
        if body["folderUid"] not in self.folders:
            return 400, {"message": "folder not found"}
        if held is not None and not body["overwrite"] and board["version"] != held["dashboard"]["version"]:
            return 412, {"message": "The dashboard has been changed by someone else", "status": "version-mismatch"}
        self.ids += 1
        version = 1 if held is None else held["dashboard"]["version"] + 1
        kept = {**board, "id": board.get("id") or self.ids, "version": version}
        meta = {"folderUid": body["folderUid"], "provisioned": False, "version": version, "type": "db"}
        self.dashboards[board["uid"]] = {"dashboard": kept, "meta": meta}
        return 200, {"id": kept["id"], "uid": board["uid"], "status": "success", "version": version, "slug": "a-slug"}

    def _annotation(self, request: Asked, _: list[str]) -> Reply:
        if request.method == "POST":
            self.ids += 1
            self.annotations.append({"id": self.ids, "dashboardUID": "", **request.body})
            return 200, {"message": "Annotation added", "id": self.ids}
        query = parse_qs(urlsplit(request.path).query)
        start, end, tags = int(query["from"][0]), int(query["to"][0]), set(query["tags"])
        return 200, [
            each
            for each in self.annotations
            if each["time"] <= end and each["timeEnd"] >= start and tags <= set(each["tags"])
        ]


@contextmanager
def serving(certificate: Path | None = None, prefix: str = "") -> Iterator[RecordingGrafana]:
    """Run one on a free port, below a path ``prefix``; with TLS where there is a certificate (with its key)."""
    grafana = RecordingGrafana()

    class Handler(BaseHTTPRequestHandler):
        def handle_one(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            body = json.loads(self.rfile.read(length)) if length else None
            headers = {name.lower(): value for name, value in self.headers.items()}
            status, said = grafana.answer(Asked(self.command, self.path.removeprefix(prefix), headers, body))
            kind = "text/html" if isinstance(said, str) else "application/json"
            data = said.encode() if isinstance(said, str) else json.dumps(said).encode()
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        do_GET = do_POST = do_PUT = do_DELETE = handle_one  # noqa: N815 (names of http.server)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, *_: object) -> None:
            """A client that does not trust us breaks off."""

    server = Server(("127.0.0.1", 0), Handler)
    if certificate is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        server.socket = context.wrap_socket(server.socket, server_side=True)
    grafana.url = f"{'http' if certificate is None else 'https'}://127.0.0.1:{server.server_port}{prefix}"
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield grafana
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
