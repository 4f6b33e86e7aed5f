"""What a person reads of a run: the console shows what is said to them, tables, and warnings; the log file has everything."""

import logging
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from logging.handlers import MemoryHandler
from typing import TYPE_CHECKING

from mmengine.logging import MMLogger

from finevit.storage.places import Spared

if TYPE_CHECKING:
    from rich.console import Console

MOST = 12
"""So many lines of one warning are shown."""
FOR_DEVELOPERS = ("deprecat", "bypass_duplicate=true")
"""Warnings of MMEngine with these words, in lower case, are for who writes the code: nothing that a person could do in a run."""
_STYLES = {logging.WARNING: "yellow", logging.ERROR: "bold red"}


class Said(str):
    """A message for people, by which the console knows it."""


def say(message: str, logger: logging.Logger | None = None) -> None:
    """Logs a line (by default with the logger of the run) that people are to read, on the console too."""
    (logger or MMLogger.get_current_instance()).info(Said(message))


@cache
def screen() -> "Console":
    """The console of this process: what is printed with it goes above a progress bar."""
    from rich.console import Console

    return Console(highlight=False, markup=False, emoji=False, soft_wrap=True)


class ConsoleHandler(logging.Handler):
    """Shows what is said, bare, and warnings with time and level, on the console."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Of what was not said to people only warnings and errors, but those for developers."""
        told = record.levelno >= logging.WARNING and not any(word in record.getMessage().lower() for word in FOR_DEVELOPERS)
        return bool(super().filter(record)) and (told or isinstance(record.msg, Said))

    def emit(self, record: logging.LogRecord) -> None:
        """Prints the record, above the progress bar where there is one."""
        try:
            screen().print(self.format(record), style=_STYLES.get(record.levelno))
        except Exception:
            self.handleError(record)

    def format(self, record: logging.LogRecord) -> str:
        """Bare where somebody is told of the run; of a warning's lines only the first ones."""
        if isinstance(record.msg, Said):
            return record.getMessage()
        lines = _FORM.format(record).splitlines()
        more = [f"... {len(lines) - MOST} more lines are in the log file"] if len(lines) > MOST + 1 else lines[MOST:]
        return "\n".join([*lines[:MOST], *more])


_FORM = logging.Formatter("%(asctime)s - %(levelname)s - %(message)s", datefmt="%H:%M:%S")


def take_over(logger: logging.Logger) -> None:
    """A logger of MMEngine shows on the console what people read, instead of everything; its file stays as it is.

    What libraries warn of (:func:`quiet_libraries`) goes into that file.
    """
    for index, handler in enumerate(logger.handlers):
        if type(handler) is logging.StreamHandler:
            quiet = logger.handlers[index] = ConsoleHandler(handler.level)
            quiet.filters = handler.filters
        if isinstance(handler, logging.FileHandler):
            _collect_warnings(handler)
            _spare(handler, logger)


def _spare(file: logging.FileHandler, logger: logging.Logger) -> None:
    """A log file that cannot be written, as on a full disk, is told once, and its lines are tried again with the next ones."""
    told, others = Spared(f"the log file {file.baseFilename}"), file.handleError

    def failed(record: logging.LogRecord) -> None:
        error = sys.exc_info()[1]
        if not isinstance(error, OSError):
            return others(record)
        with told.writing(logger):
            raise error

    file.handleError = failed  # type: ignore[method-assign]


@contextmanager
def quiet_libraries() -> Iterator[None]:
    """What libraries warn of is not shown: it waits for the log file, and goes there."""
    warnings, waiting = logging.getLogger("py.warnings"), MemoryHandler(10_000, flushLevel=logging.CRITICAL + 1)
    logging.captureWarnings(True)
    warnings.addHandler(waiting)
    warnings.propagate = False
    try:
        yield
    finally:
        warnings.propagate = True
        warnings.removeHandler(waiting)
        logging.captureWarnings(False)


def _collect_warnings(file: logging.Handler) -> None:
    for waiting in logging.getLogger("py.warnings").handlers:
        if isinstance(waiting, MemoryHandler):
            waiting.setTarget(file)
            waiting.flush()
            waiting.capacity = 1


def aligned(rows: Sequence[Sequence[str]]) -> str:
    """A header and its rows: names to the left, what follows them to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    head, *body = ["  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]).rstrip() for row in rows]
    return "\n".join([head, "─" * (sum(widths) + 2 * (len(widths) - 1)), *body])
