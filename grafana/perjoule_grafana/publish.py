"""What is published to a Grafana: a data source, a folder, the dashboards, each by its uid and only where it differs.

What is the same is not written again, so that Grafana's history has no versions without a change; what Grafana adds of
its own (ids, versions) does not count. How Grafana is reached is not known here.
"""

import difflib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from perjoule.errors import GrafanaError
from perjoule_grafana.dashboards import dashboard_files
from perjoule_grafana.server import Grafana

FOLDER_UID = "perjoule"
SOURCE_UID = "perjoule-prometheus"
SOURCE_NAME = "Perjoule Prometheus"
_GRAFANAS_OWN = ("id", "version")
_CONTEXT = 2


@dataclass(frozen=True, slots=True)
class Source:
    """The Prometheus that Grafana is to read, and its scrape interval (a duration as ``15s``)."""

    url: str
    scrape_interval: str


@dataclass(frozen=True, slots=True)
class Change:
    """One thing of Grafana's: what it is, what is there (None: nothing), and what is to be there."""

    kind: str
    name: str
    there: dict[str, Any] | None
    wanted: dict[str, Any]

    @property
    def verb(self) -> str:
        """What is to be done: ``create``, ``update`` or ``keep``."""
        if self.there is None:
            return "create"
        return "keep" if self.there == self.wanted else "update"

    def diff(self) -> Iterator[str]:
        """Yield the lines that say what would change; of something new its name says enough."""
        if self.verb != "update":
            return
        old, new = (
            json.dumps(each, indent=1, sort_keys=True, ensure_ascii=False) for each in (self.there, self.wanted)
        )
        lines = difflib.unified_diff(
            old.splitlines(), new.splitlines(), "in Grafana", "to publish", "", "", _CONTEXT, ""
        )
        yield from (f"    {line}" for line in lines)


def dashboards() -> list[dict[str, Any]]:
    """Return the dashboards as Grafana takes them, generated now."""
    return [json.loads(text) for text in dashboard_files().values()]


def publish(grafana: Grafana, folder: str, source: Source | None, *, dry_run: bool) -> Iterator[Change]:
    """Bring the data source (where there is one), the folder and the dashboards to what they should be.

    Yields each change when it has been made; with ``dry_run`` none is made.

    Raises:
        GrafanaError, UnreachableError: Grafana refuses, or does not answer. What was yielded before has been done.
    """
    if source is not None:
        yield _source(grafana, source, dry_run=dry_run)
    yield _folder(grafana, folder, dry_run=dry_run)
    for board in dashboards():
        yield _dashboard(grafana, board, dry_run=dry_run)


def _source(grafana: Grafana, source: Source, *, dry_run: bool) -> Change:
    what, api = f"data source {SOURCE_NAME}", grafana.api.datasource
    there = grafana.found(what, api.get_datasource_by_uid, SOURCE_UID)
    owned = {"uid": SOURCE_UID, "name": SOURCE_NAME, "type": "prometheus", "access": "proxy", "url": source.url}
    settings = {"httpMethod": "POST", "timeInterval": source.scrape_interval}
    body = {**(there or {}), **owned, "jsonData": {**((there or {}).get("jsonData") or {}), **settings}}
    change = Change("data source", SOURCE_NAME, there, body)
    _refuse_provisioned(change, bool((there or {}).get("readOnly")))
    if change.verb == "create" and not dry_run:
        grafana.document(what, api.create_datasource, body)
    elif change.verb == "update" and not dry_run:
        grafana.document(what, api.update_datasource_by_uid, SOURCE_UID, body)
    return change


def _folder(grafana: Grafana, title: str, *, dry_run: bool) -> Change:
    what, api = f"folder {title}", grafana.api.folder
    there = grafana.found(what, api.get_folder, FOLDER_UID)
    known = None if there is None else {"uid": FOLDER_UID, "title": there.get("title")}
    change = Change("folder", title, known, {"uid": FOLDER_UID, "title": title})
    if there is None:
        if not dry_run:
            grafana.document(what, api.create_folder, title, FOLDER_UID)
    elif change.verb == "update" and not dry_run:
        grafana.document(what, api.update_folder, FOLDER_UID, title=title, version=there.get("version"))
    return change


def _dashboard(grafana: Grafana, board: Mapping[str, Any], *, dry_run: bool) -> Change:
    what, api = f"dashboard {board['title']}", grafana.api.dashboard
    there = grafana.found(what, api.get_dashboard, board["uid"])
    old, meta = (there or {}).get("dashboard") or {}, (there or {}).get("meta") or {}
    known = None if there is None else {"folderUid": meta.get("folderUid", ""), "dashboard": _plain(old)}
    change = Change("dashboard", board["title"], known, {"folderUid": FOLDER_UID, "dashboard": _plain(board)})
    _refuse_provisioned(change, bool(meta.get("provisioned")))
    if change.verb != "keep" and not dry_run:
        # With the version that was seen and without overwriting: a change in between is refused (412), not lost.
        saved = {**_plain(board), "id": old.get("id"), "version": old.get("version", 0)}
        body = {"dashboard": saved, "folderUid": FOLDER_UID, "message": "perjoule-grafana publish", "overwrite": False}
        grafana.document(what, api.update_dashboard, body)
    return change


def _plain(board: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in board.items() if key not in _GRAFANAS_OWN}


def _refuse_provisioned(change: Change, provisioned: bool) -> None:  # noqa: FBT001 (what Grafana says of it)
    if provisioned and change.verb == "update":
        raise GrafanaError(
            f"{change.kind} {change.name} comes from provisioning files and differs from what would be published:"
            " change those files (grafana/provisioning), or take it out of them first"
        )


def told(changes: Iterator[Change], *, dry_run: bool) -> Iterator[str]:
    """Yield lines for a person: each change as it comes, and a summary."""
    done: list[Change] = []
    for change in changes:
        done.append(change)
        yield f"{_VERBS[dry_run][change.verb]} {change.kind} {change.name}"
        if dry_run:
            yield from change.diff()
    yield _summary(done, dry_run=dry_run)


def _summary(done: Sequence[Change], *, dry_run: bool) -> str:
    count = {verb: sum(change.verb == verb for change in done) for verb in ("create", "update", "keep")}
    would = "would be " if dry_run else ""
    return f"{count['create']} {would}created, {count['update']} {would}updated, {count['keep']} unchanged"


_VERBS = {
    False: {"create": "created", "update": "updated", "keep": "unchanged"},
    True: {"create": "would create", "update": "would update", "keep": "unchanged"},
}
