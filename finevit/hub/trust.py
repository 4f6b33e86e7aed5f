"""The one setting by which a user lets checkpoints run the code that they hold: of files that he made himself."""

import argparse
import os

FLAG, VARIABLE = "--trust-checkpoint", "FINEVIT_TRUST_CHECKPOINT"
"""The flag of every tool that reads checkpoints; the variable does the same for programs of others."""
OFFER = f"if you made the file yourself, add {FLAG} or set {VARIABLE}=1"


class _Trust(argparse.Action):
    """Sets the variable, so that processes that are started see it too."""

    def __call__(self, *_: object) -> None:
        """Called by argparse."""
        os.environ[VARIABLE] = "1"


def add_trust(parser: argparse.ArgumentParser) -> None:
    """Gives a tool the flag."""
    parser.add_argument(
        FLAG, action=_Trust, nargs=0, help="let checkpoints run the code that they hold: for files that you made yourself"
    )


def trusted() -> bool:
    """Whether checkpoints are read with the code that they hold."""
    return os.environ.get(VARIABLE) == "1"
