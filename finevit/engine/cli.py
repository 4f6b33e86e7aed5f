"""What every command line tool shares: errors that people can act on are printed without a traceback."""

import argparse
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from mmengine.config import DictAction

OURS = ("finevit", "finevit_plugins")


class Options(DictAction):
    """``--cfg-options KEY=VALUE ...`` as in OpenMMLab, with usage help instead of a traceback for what has no ``=``."""

    def __call__(self, parser: argparse.ArgumentParser, namespace: argparse.Namespace, values: Any, *rest: Any) -> None:
        """Called by argparse."""
        for value in values:
            if "=" not in value[1:]:
                parser.error(f"{self.option_strings[0]}: {value!r} is not of the form KEY=VALUE")
        super().__call__(parser, namespace, values, *rest)


@contextmanager
def user_errors() -> Iterator[None]:
    """Print a ``ValueError`` that FineViT itself raised as ``error: ...`` and exit with status 2.

    By the project's convention such an error names the setting, the value and the remedy; one from elsewhere keeps its
    traceback. ``FINEVIT_TRACEBACK=1`` keeps every traceback.
    """
    try:
        yield
    except ValueError as error:
        from finevit.contracts import BadSample

        if os.environ.get("FINEVIT_TRACEBACK") == "1" or not (_is_ours(error) or isinstance(error, BadSample)):
            raise
        message = str(error).rpartition(f"{BadSample.__module__}.BadSample: ")[2]  # a worker's comes behind its traceback
        print(f"error: {message}", file=sys.stderr)
        raise SystemExit(2) from None


def _is_ours(error: ValueError) -> bool:
    """Whether the statement that raised stands in one of this project's packages."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return trace is not None and trace.tb_frame.f_globals.get("__name__", "").partition(".")[0] in OURS
