"""Make the virtual environment in which the Makefile runs everything: once, quickly, and saying what is being done.

It lives in the user's cache folder, one per checkout and Python version, and ``.venv`` in the checkout points at it.
A stamp that is written last holds a hash of the dependency files; without that stamp, or with another hash, the
environment is made anew, so an interrupted set-up heals at the next call. Packages are installed by uv, which keeps
one copy of each on disk for all environments, and by pip where uv cannot. Standard library only; an old Python meets
the version check first.
"""

import sys

if sys.version_info < (3, 11):  # noqa: UP036 - the Python that runs this is the user's choice
    sys.exit(
        "FineViT needs Python 3.11 or newer; {} is {}.{}. Name another one: make PYTHON=/path/to/python3.12 ...".format(
            sys.executable, *sys.version_info[:2]
        )
    )

import fcntl
import hashlib
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SPACE = 7.0e9
"""Bytes of a full installation; four fifths are PyTorch and its CUDA libraries."""
DEPENDENCY_FILES = ("setup.py", "constraints.txt", "tools/environment.py")
FIRST_IMPORTS = "import cv2, torch, mmengine.runner, mmcv, mmpretrain, transformers, timm"


def main() -> None:
    """Leave ``.venv`` pointing at an environment that fits the dependency files, or exit with a message for people."""
    environments = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "finevit" / "environments"
    environments.mkdir(parents=True, exist_ok=True)
    checkout = hashlib.sha256(str(ROOT).encode()).hexdigest()[:8]
    environment = environments / f"{ROOT.name}-{checkout}-py{sys.version_info.major}{sys.version_info.minor}"
    with locked(environment.with_suffix(".lock")):
        if not is_current(environment):
            drop_orphans(environments)
            build(environment)
        point_at(environment)


def fingerprint() -> str:
    """A hash of everything that decides what is installed."""
    digest = hashlib.sha256(f"{sys.version} {sys.base_prefix}".encode())
    for name in DEPENDENCY_FILES:
        digest.update((ROOT / name).read_bytes())
    return digest.hexdigest()


def is_current(environment: Path) -> bool:
    """Whether a finished environment for these dependency files is there."""
    stamp = environment / "stamp"
    return stamp.is_file() and stamp.read_text() == fingerprint()


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the file lock ``path``; the system releases it with the process, however that ends."""
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            print("Another make is setting up this checkout: waiting for it.", flush=True)
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def drop_orphans(environments: Path) -> None:
    """Remove the environments of checkouts that are gone."""
    for note in environments.glob("*/checkout"):
        if not Path(note.read_text()).is_dir():
            shutil.rmtree(note.parent, ignore_errors=True)


def build(environment: Path) -> None:
    """Make the environment from nothing; the stamp comes last."""
    shutil.rmtree(environment, ignore_errors=True)
    free = shutil.disk_usage(environment.parent).free
    if free < SPACE:
        sys.exit(
            f"The environment needs {SPACE / 1e9:.1f} GB in {environment.parent}, where {free / 1e9:.1f} GB are free. "
            "Make room, or choose another place: XDG_CACHE_HOME=/path make ..."
        )
    print(f"Setting up once: {SPACE / 1e9:.1f} GB in {environment}, 1 to 5 minutes", flush=True)
    steps = Steps(environment)
    steps.do("virtual environment", [sys.executable, "-m", "venv", str(environment)])
    (environment / "checkout").write_text(str(ROOT))
    steps.install()
    steps.check()
    (environment / "stamp").write_text(fingerprint())


class Steps:
    """The steps of a set-up: a line and its seconds for each. What programs print goes to a log."""

    def __init__(self, environment: Path) -> None:
        self.log = environment.with_suffix(".log")
        self.log.write_text("")
        self.python = str(environment / "bin" / "python")
        self.variables = {**os.environ, "VIRTUAL_ENV": str(environment), "MMCV_WITH_OPS": "0"}
        self.variables.pop("PYTHONDONTWRITEBYTECODE", None)  # the first imports leave their bytecode to all that follow
        self.variables.setdefault("UV_HTTP_TIMEOUT", "300")
        # uv does not read pip's settings: hand it the two that decide whether it can download at all.
        for pip, uv in (("PIP_INDEX_URL", "UV_DEFAULT_INDEX"), ("PIP_CERT", "SSL_CERT_FILE")):
            if pip in os.environ:
                self.variables.setdefault(uv, os.environ[pip])

    def install(self) -> None:
        """Install the checkout and what it needs: through uv, which takes seconds, or through pip."""
        pip = [self.python, "-m", "pip", "install", "--constraint", "constraints.txt"]
        self.do("installer", [*pip, "uv"])
        uv = [self.python, "-m", "uv", "pip", "install", "--constraint", "constraints.txt"]
        if not self.do("packages, most of it PyTorch", [*uv, "--editable", ".[dev]"], must=False):
            self.do("packages again, with pip", [*pip, "--editable", ".[dev]"])

    def check(self) -> None:
        """Import the heavy packages once. Where OpenCV misses the system's libGL, take its build that does without."""
        imports = [self.python, "-c", FIRST_IMPORTS]
        if not self.do("first imports", imports, must=False):
            headless = ["--force-reinstall", "--no-deps", "opencv-python-headless"]
            self.do("OpenCV without a display", [self.python, "-m", "pip", "install", *headless])
            self.do("first imports", imports)

    def do(self, what: str, command: list[str], *, must: bool = True) -> bool:
        """Run one command; whether it succeeded. Failure where it must succeed ends the program with the log's end."""
        print(f"  {what} ... ", end="", flush=True)
        start = time.monotonic()
        with self.log.open("a") as log:
            code = subprocess.run(command, cwd=ROOT, env=self.variables, stdout=log, stderr=log).returncode
        print(f"{time.monotonic() - start:.0f} s" if code == 0 else "failed", flush=True)
        if code and must:
            tail = "\n".join(self.log.read_text(errors="replace").splitlines()[-12:])
            sys.exit(f"{tail}\nSet-up failed at: {what}. The whole log: {self.log}")
        return code == 0


def point_at(environment: Path) -> None:
    """Make ``.venv`` a link to the environment."""
    link = ROOT / ".venv"
    if link.is_symlink():
        if link.readlink() == environment:
            return
        link.unlink()
    if link.exists():
        sys.exit(f"{link} is not of this set-up's making: remove or rename it first.")
    link.symlink_to(environment)


if __name__ == "__main__":
    main()
