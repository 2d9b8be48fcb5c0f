"""Log lines: one event a line on stderr, UTC, and nothing that a caller sent can break a line."""

import logging
import sys
import time


class _Formatter(logging.Formatter):
    converter = staticmethod(time.gmtime)

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's own name
        """Return the line, without a traceback, with its control characters escaped."""
        return _escape(super().formatMessage(record))


def _escape(text: str) -> str:
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def start(level: str) -> None:
    """Send the logs of this process to stderr, from *level* on."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        _Formatter("%(asctime)sZ %(levelname)s %(name)s %(message)s", "%Y-%m-%dT%H:%M:%S")
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    if root.level > logging.DEBUG:
        # Otherwise uvicorn tells of every worker, and of every request that is no HTTP.
        logging.getLogger("uvicorn").setLevel(logging.ERROR)
    # A log line that cannot be written (a full disk, a closed pipe) must not fail a request.
    logging.raiseExceptions = False
