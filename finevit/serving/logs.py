"""The server's log, which clients can neither flood nor stretch."""

import logging
import time

EVERY_S, LINES, CHARS = 10.0, 500, 300
"""At most so many lines in so many seconds from each logger; what clients wrote in them is cut at so many characters."""


class Sparing(logging.Filter):
    """Leaves lines out where there are too many, and says how many in the first one after them. Errors are never left out."""

    def __init__(self) -> None:
        super().__init__()
        self.begin, self.count = time.monotonic(), 0

    def filter(self, record: logging.LogRecord) -> bool:
        """Called by ``logging`` for each line."""
        now, left_out = time.monotonic(), self.count - LINES
        if now - self.begin > EVERY_S:
            self.begin, self.count = now, 0
            if left_out > 0:
                logging.getLogger("uvicorn.error").warning("%s: %d lines left out", record.name, left_out)
        self.count += 1
        if isinstance(record.args, tuple):
            record.args = tuple(_cut(value) for value in record.args)
        return self.count <= LINES or record.levelno >= logging.ERROR


def _cut(value: object) -> object:
    return f"{value[:CHARS]}..." if isinstance(value, str) and len(value) > CHARS else value


def spare() -> None:
    """Keep the loggers of uvicorn within bounds."""
    for name in ("uvicorn.access", "uvicorn.error"):
        log = logging.getLogger(name)
        if not any(isinstance(known, Sparing) for known in log.filters):
            log.addFilter(Sparing())
