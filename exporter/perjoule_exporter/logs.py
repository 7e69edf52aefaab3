"""Log lines on stderr: one line each, ``key=value`` or JSON as Prometheus's programs write them.

Knows format only; that a thing is said once is up to who says it.
"""

import json
import logging
import sys
from datetime import UTC, datetime

LEVELS = ("debug", "info", "warn", "warning", "error")


FORMATS = ("logfmt", "json")


class _Line(logging.Formatter):
    def __init__(self, style: str) -> None:
        super().__init__()
        self._kind = style

    def format(self, record: logging.LogRecord) -> str:
        time = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        text = record.getMessage()
        if record.exc_info:
            text += "\n" + self.formatException(record.exc_info)
        source = record.name.removeprefix("perjoule_exporter.").strip("_")
        fields = {"ts": time, "level": record.levelname.lower(), "source": source, "msg": text}
        if self._kind == "json":
            return json.dumps(fields, ensure_ascii=False)
        fields["msg"] = json.dumps(text, ensure_ascii=False)
        return " ".join(f"{key}={value}" for key, value in fields.items())


def start_logging(level: str, style: str = "logfmt") -> None:
    """Send the log lines of this program to stderr, from ``level`` on, in one of ``FORMATS``."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Line(style))
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
