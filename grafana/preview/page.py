"""Draws one dashboard as a PNG: Grafana's own panel components in headless Chromium, on a real Prometheus.

There is no Grafana server in it: variables are filled in here, transformations are imitated in ``query.js``. What only
a server does (annotations, links, variables' choices) is not drawn.
"""

import functools
import http.server
import json
import re
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
WIDTH, ROW = 1440, 36
COLOURS = 96
LOADERS = [f"--loader:.{kind}=dataurl" for kind in ("svg", "ttf", "woff", "woff2", "png")]
CHROMIUM = (
    "chromium", "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
    "--disable-background-networking", "--disable-component-update", "--hide-scrollbars", "--virtual-time-budget=20000",
)  # fmt: skip


class PreviewError(Exception):
    """A dashboard cannot be drawn; the message says what to do."""


@dataclass(frozen=True, slots=True)
class View:
    """What to look at: a Prometheus, the range in Unix seconds, and the sentence above the panels."""

    prometheus: str
    start: float
    end: float
    words: str
    step: int = 15


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        """Say nothing: the calls are our own."""


def filled_in(expr: str, view: View) -> str:
    """Return PromQL with Grafana's variables filled in: everything is chosen."""
    seconds = int(view.end - view.start)
    known = {
        "__range": f"{seconds}s", "__range_s": str(seconds), "__rate_interval": "1m",
        "__from": str(int(view.start * 1000)), "__to": str(int(view.end * 1000)),
    }  # fmt: skip
    return re.sub(r"\$\{?([a-zA-Z_]\w*)\}?", lambda found: known.get(found[1], ".*"), expr)


def bundle(folder: Path) -> None:
    """Write the page's script into ``folder``.

    Raises:
        PreviewError: the npm packages are not installed, or do not fit.
    """
    esbuild = HERE / "node_modules" / ".bin" / "esbuild"
    if not esbuild.exists():
        raise PreviewError(f"no npm packages in {HERE}: make dashboards-preview installs them (about 430 MB)")
    out = ["--bundle", "--format=esm", f"--outfile={folder / 'main.js'}", "--log-level=error"]
    define = '--define:process.env.NODE_ENV="production"'
    command: list[str | Path] = [esbuild, HERE / "main.jsx", *out, *LOADERS, define]
    done = subprocess.run(command, cwd=HERE, capture_output=True, text=True, check=False)
    if done.returncode:
        raise PreviewError(f"esbuild: {done.stderr.strip()}")


def draw(dashboard: dict[str, Any], view: View, picture: Path, folder: Path) -> list[str]:
    """Draw the dashboard into ``picture`` with the script in ``folder``; return what failed or was empty."""
    panels = [inner for panel in dashboard["panels"] for inner in (panel, *panel.get("panels", []))]
    for target in (target for panel in panels for target in panel.get("targets", [])):
        target["expr"] = filled_in(target["expr"], view)
    page = {"dashboard": dashboard, "prometheus": view.prometheus, "from": view.start, "to": view.end}
    page |= {"step": view.step, "chosen": view.words, "width": WIDTH}
    (folder / "index.html").write_text(_html(page, (folder / "main.css").exists()), encoding="utf-8")
    height = 64 + ROW * max(panel["gridPos"]["y"] + panel["gridPos"]["h"] for panel in panels)
    with _served(folder) as url, tempfile.TemporaryDirectory() as profile:
        command = [*CHROMIUM, f"--user-data-dir={profile}", f"--window-size={WIDTH + 8},{height}"]
        dom = _chromium([*command, "--dump-dom", url])
        _chromium([*command, f"--screenshot={picture.resolve()}", url])
    return _errors(dom)


def shrink(picture: Path) -> None:
    """Reduce a picture to a palette: a third of the bytes, and no difference to the eye."""
    from PIL import Image

    with Image.open(picture) as image:
        image.convert("RGB").quantize(COLOURS, dither=Image.Dither.NONE).save(picture, optimize=True)


def _html(page: dict[str, Any], styled: bool) -> str:  # noqa: FBT001 (one caller, two lines above)
    css = '<link rel="stylesheet" href="main.css">' if styled else ""
    data = json.dumps(page).replace("</", "<\\/")
    script = f"<script>window.global=window;window.process={{env:{{}}}};window.__page={data}</script>"
    body = '<body style="margin:0;background:#111217"><div id="root"></div>'
    return f'<!doctype html><meta charset="utf-8">{css}{body}{script}<script type="module" src="main.js"></script>'


@contextmanager
def _served(folder: Path) -> Iterator[str]:
    handler = functools.partial(_Quiet, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/index.html"
        finally:
            server.shutdown()


def _chromium(command: list[str]) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=180, check=True)
    except FileNotFoundError:
        raise PreviewError("chromium is not on PATH (Debian: apt install chromium)") from None
    except subprocess.SubprocessError as error:
        raise PreviewError(f"chromium: {error}") from error
    return done.stdout


def _errors(dom: str) -> list[str]:
    title = re.search(r"<title>ready (.*?)</title>", dom)
    if title is None:
        return ["the page did not finish"]
    return list(json.loads(title.group(1).replace("&quot;", '"').replace("&lt;", "<").replace("&amp;", "&")))
