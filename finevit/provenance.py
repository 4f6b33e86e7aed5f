"""Where something was made: when, by which command, with which version and commit, on what. For the head of a page."""

import shlex
import subprocess
import sys
from datetime import datetime
from pathlib import Path

import torch

import finevit


def provenance(device: str) -> list[tuple[str, str]]:
    """Names and values, such as ``("command", "finevit train ...")``; ``device`` in words."""
    commit = commit_of(Path(finevit.__file__).parents[1])
    return [
        ("date", f"{datetime.now():%Y-%m-%d %H:%M}"),
        ("command", _sound(command())),
        ("version", f"FineViT {finevit.__version__}"),
        *([("git commit", commit)] if commit else []),
        ("device", f"{device}, PyTorch {torch.__version__}"),
    ]


def command() -> str:
    """The command line of this process; ``finevit`` and the name of its command are two words."""
    tool, *arguments = sys.argv
    return shlex.join([*(tool.split() if tool.startswith("finevit ") else [tool]), *arguments])


def commit_of(checkout: Path) -> str:
    """The commit of a checkout, and whether tracked files differ from it; "" where the folder is none, or git cannot tell."""
    if not (checkout / ".git").exists():
        return ""
    head, changes = _git(checkout, "rev-parse", "--short=12", "HEAD"), _git(checkout, "status", "--porcelain", "-uno")
    return f"{head}, with changes that are not committed" if head and changes else head


def _git(checkout: Path, *arguments: str) -> str:
    try:
        done = subprocess.run(["git", "-C", str(checkout), *arguments], capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.strip()


def _sound(text: str) -> str:
    """Without what no file in UTF-8 can hold, such as odd bytes of a path."""
    return text.encode("utf-8", "backslashreplace").decode()
