"""Log lines on stderr: one line each, ``key=value`` as Prometheus's programs write them.

Knows format only; that a thing is said once is up to who says it.
"""

import json
import logging
import sys
from datetime import UTC, datetime

LEVELS = ("debug", "info", "warn", "warning", "error")


class _Logfmt(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        time = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        text = record.getMessage()
        if record.exc_info:
            text += "\n" + self.formatException(record.exc_info)
        source = record.name.removeprefix("perjoule_exporter.").strip("_")
        return f"ts={time} level={record.levelname.lower()} source={source} msg={json.dumps(text, ensure_ascii=False)}"


def start_logging(level: str) -> None:
    """Send the log lines of this program to stderr, from ``level`` on."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Logfmt())
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
