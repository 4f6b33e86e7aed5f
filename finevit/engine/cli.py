"""What every command line tool shares: errors that people can act on are printed without a traceback."""

import argparse
import os
import re
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from signal import SIG_IGN, SIGALRM, SIGINT, SIGPIPE, signal
from typing import Any, NoReturn

from finevit.signals import Interrupted, Stuck, end_workers, raised
from finevit.storage.places import FAULTS, FULL, fault, full_place, remedy_for

OURS = ("finevit", "finevit_plugins")
_WORKER = re.compile(
    r'Caught \w+ in DataLoader worker process .*\n +File "(?P<file>[^"\n]+)", line .*?\n[\w.]+: (?P<message>.*)', re.DOTALL
)


class Options(argparse.Action):
    """``--cfg-options KEY=VALUE ...`` as in OpenMMLab, into a :class:`~finevit.config.options.Given`; else usage help."""

    def __call__(self, parser: argparse.ArgumentParser, namespace: argparse.Namespace, values: Any, *_: Any) -> None:
        """Called by argparse."""
        from finevit.config.options import Given

        given = getattr(namespace, self.dest, None)
        typed = dict(given.typed) if isinstance(given, Given) else {}
        for value in values:
            name, equals, text = value.partition("=")
            if not name or not equals:
                parser.error(f"{self.option_strings[0]}: {value!r} is not of the form KEY=VALUE; quote a value with spaces")
            typed[name] = text
        try:
            setattr(namespace, self.dest, Given(typed))
        except (ValueError, RecursionError):
            parser.error(f"{self.option_strings[0]}: {values} cannot be read; name the settings of a dict one by one: A.B=1 A.C=2")


def add_options(parser: argparse.ArgumentParser) -> None:
    """Gives a command ``--cfg-options``."""
    parser.add_argument("--cfg-options", nargs="+", action=Options, default={}, metavar="KEY=VALUE", help="override settings")


@contextmanager
def user_errors() -> Iterator[None]:
    """Print a ``ValueError`` that FineViT itself raised as ``error: ...`` and exit with status 2.

    By the project's convention such an error names the setting, the value and the remedy; one from elsewhere keeps its
    traceback. What the system says of a place, full or closed, is printed likewise. ``FINEVIT_TRACEBACK=1`` keeps every traceback.
    A signal ends the tool with a line and the signal's code, a loader whose worker died or is stuck with an error.
    """
    try:
        with raised():
            yield
    except KeyboardInterrupt as interrupt:
        ended = interrupt if isinstance(interrupt, Interrupted) else Interrupted(SIGINT)
        print(f"\n{ended.name}: ended before it was done", file=sys.stderr)
        raise SystemExit(ended.code) from None
    except Stuck as error:
        _end(str(error))
    except (RuntimeError, ConnectionError, EOFError) as error:
        from finevit.datasets.worker_board import died

        told = died(error)
        if os.environ.get("FINEVIT_TRACEBACK") == "1" or not told:
            raise
        _end(told)
    except ValueError as error:
        message = of_worker(error) or (str(error) if is_ours(error) else "")
        if os.environ.get("FINEVIT_TRACEBACK") == "1" or not message:
            raise
        print(f"error: {message}", file=sys.stderr)
        raise SystemExit(2) from None
    except OSError as error:
        if os.environ.get("FINEVIT_TRACEBACK") == "1" or error.errno not in FAULTS:
            raise
        if error.errno in FULL and not error.filename:  # of a write, which names no file
            named = [argument.partition("=")[2] or argument for argument in sys.argv[1:]]
            error.filename = full_place([*named, "/dev/shm", Path.cwd(), tempfile.gettempdir(), Path.home()]) or None
        remedy = remedy_for(error, "see to the permissions of this place, or give another")
        print(f"error: the system refused a file ({fault(error)}); {remedy}", file=sys.stderr)
        raise SystemExit(2) from None


def _end(told: str) -> NoReturn:
    """Without the workers, of which one may be stopped."""
    signal(SIGALRM, SIG_IGN)  # of the watch of loaders
    print(f"error: {told}", file=sys.stderr)
    end_workers(2)
    raise SystemExit(2) from None


@contextmanager
def until_closed() -> Iterator[None]:
    """For tools that print: ends without a traceback where nobody reads on, as in ``... | head``."""
    try:
        yield
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # Python flushes once more when it ends
        raise SystemExit(128 + SIGPIPE) from None


def of_worker(error: ValueError) -> str:
    """What our code raised in a worker of a loader, which torch hands on behind the worker's traceback; "" for anything else."""
    found = _WORKER.match(str(error))
    folders = [Path(module.__file__).parent for name in OURS if (module := sys.modules.get(name)) and module.__file__]
    return found["message"].rstrip() if found and any(Path(found["file"]).is_relative_to(folder) for folder in folders) else ""


def is_ours(error: ValueError) -> bool:
    """Whether the statement that raised stands in one of this project's packages, or in the tool itself."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return trace is not None and trace.tb_frame.f_globals.get("__name__", "").partition(".")[0] in (*OURS, "__main__")
