"""Compile mmcv's own operations for the installed PyTorch, and install them over the stand-ins of ``finevit.downstream.ops``.

    python tools/build_ops.py                 # or: make ops
    python tools/build_ops.py --wheel-only    # leave the environment as it is

Compiling takes some 40 minutes of processor time, once: the wheel is kept in ``${XDG_CACHE_HOME:-~/.cache}/finevit/wheels``
by the versions of mmcv, PyTorch, CUDA, Python and by platform. An interrupted build goes on where it stopped.

The source comes from the package index. mmcv's ``setup.py`` asks for C++17, which the headers of newer versions of PyTorch do
not compile with: it is changed to the standard that ``torch.utils.cpp_extension`` itself uses.
"""

import argparse
import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import time
from collections.abc import Iterable
from pathlib import Path

from finevit.storage.places import cache_folder

NAME = "onedl-mmcv"
STANDARD = re.compile(r"([-/])std([=:])c\+\+(\d+)")
STEP = re.compile(r"^\s*\[(\d+)/(\d+)\]")
PIP = [sys.executable, "-m", "pip"]


def main() -> None:
    """Parse the command line; build what the cache does not hold; install."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--wheel-only", action="store_true", help="build the wheel and print where it is; install nothing")
    parser.add_argument("--cpu", action="store_true", help="without CUDA kernels, on a machine with a GPU")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="files compiled at once (default: one a core)")
    args = parser.parse_args()
    try:
        version = installed_version()
        folder = cache_folder() / "wheels" / build_key(version, cpu=args.cpu)
        wheel = find_wheel(folder) or build(folder, version=version, cpu=args.cpu, jobs=args.jobs)
    except ValueError as error:
        sys.exit(f"error: {error}")
    print(f"{'kept in' if args.wheel_only else 'installing'} {wheel}", flush=True)
    if not args.wheel_only:
        sys.exit(subprocess.run([*PIP, "install", "--quiet", "--no-deps", "--force-reinstall", str(wheel)]).returncode)


def installed_version() -> str:
    """The version of mmcv to compile: the one that is installed."""
    try:
        return importlib.metadata.version(NAME)
    except importlib.metadata.PackageNotFoundError:
        raise ValueError(f"{NAME} is not installed in {sys.prefix}; `pip install finevit[downstream]` brings it") from None


def build_key(version: str, *, cpu: bool) -> str:
    """The name of a build: whatever its binaries depend on."""
    import torch

    device = "cpu" if cpu or not torch.cuda.is_available() else f"cuda{torch.version.cuda}"
    torch_version = torch.__version__.partition("+")[0]
    return f"mmcv{version}-torch{torch_version}-{device}-{sys.implementation.cache_tag}-{sysconfig.get_platform()}"


def find_wheel(folder: Path) -> Path | None:
    """The finished wheel of a build, if there is one."""
    return next(iter(sorted(folder.glob("*.whl"))), None)


def build(folder: Path, *, version: str, cpu: bool, jobs: int) -> Path:
    """Compile into ``folder`` and give the wheel; the sources stay until it is finished."""
    from filelock import FileLock

    check_tools(cpu=cpu)
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / "lock"):
        if wheel := find_wheel(folder):  # of another process, that this one waited for
            return wheel
        source = folder / "source"
        if not source.is_dir():
            fetch_source(version, source)
        compile_wheel(source, folder / "new", cpu=cpu, jobs=jobs)
        made = next((folder / "new").glob("*.whl"))
        wheel = made.rename(folder / made.name)
        for leftover in (source, folder / "new"):
            shutil.rmtree(leftover)
        shutil.rmtree(folder / "ninja", ignore_errors=True)  # there only where the build had to bring it
    return wheel


def check_tools(*, cpu: bool) -> None:
    """Refuse before anything is downloaded where a compiler, Python's headers or CUDA's toolkit is missing."""
    import torch
    from torch.utils.cpp_extension import CUDA_HOME

    compiler = os.environ.get("CXX", "c++").split()[0]
    if shutil.which(compiler) is None:
        raise ValueError(
            f"no C++ compiler: {compiler!r} is not on PATH; install one (Debian: `apt-get install g++`, Fedora: "
            "`dnf install gcc-c++`, macOS: `xcode-select --install`) or name it by the environment variable CXX"
        )
    headers = Path(sysconfig.get_paths()["include"]) / "Python.h"
    if not headers.is_file():
        raise ValueError(f"Python's headers are missing: no {headers}; on Debian `apt-get install python3-dev`")
    if torch.cuda.is_available() and not cpu and CUDA_HOME is None:
        raise ValueError(
            f"no CUDA toolkit: nvcc of CUDA {torch.version.cuda} is needed to compile for the GPU; install it and set "
            "CUDA_HOME, or pass --cpu for kernels of the processor alone"
        )


def fetch_source(version: str, source: Path) -> None:
    """Download the source distribution into ``source``, its ``setup.py`` fitted to the installed PyTorch."""
    print(f"fetching the source of {NAME} {version}", flush=True)
    scratch = source.with_name("download")
    command = [*PIP, "download", "--quiet", "--no-deps", "--no-binary", ":all:", "--no-build-isolation"]
    reason = failure([*command, "--dest", str(scratch), f"{NAME}=={version}"])
    archives = list(scratch.glob("*.tar.gz"))
    if reason or not archives:
        reason = reason or "no source distribution came"
        raise ValueError(f"pip could not download the source of {NAME}=={version} ({reason}); connect once")
    with tarfile.open(archives[0]) as archive:
        archive.extractall(scratch, filter="data")
    (folder,) = (path for path in scratch.iterdir() if path.is_dir())
    setup = folder / "setup.py"
    setup.write_text(fit_standard(setup.read_text("utf-8"), torch_standard()), "utf-8")
    folder.rename(source)
    shutil.rmtree(scratch)


def failure(command: list[str]) -> str:
    """Run a command in silence: the last line of its complaint if it failed, else nothing."""
    done = subprocess.run(command, capture_output=True, text=True)
    return (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1] if done.returncode else ""


def torch_standard() -> int:
    """The C++ standard of PyTorch's own extension builder."""
    from torch.utils import cpp_extension

    return max(int(found[2]) for found in STANDARD.findall(Path(cpp_extension.__file__).read_text("utf-8")))


def fit_standard(setup: str, standard: int) -> str:
    """``setup.py`` with every older C++ standard raised to this one."""

    def raised(found: re.Match[str]) -> str:
        return f"{found[1]}std{found[2]}c++{max(standard, int(found[3]))}"

    return STANDARD.sub(raised, setup)


def compile_wheel(source: Path, target: Path, *, cpu: bool, jobs: int) -> None:
    """Run pip on the source, showing how many files are compiled; its whole output lies in ``log.txt`` beside ``target``."""
    variables = {**os.environ, "MMCV_WITH_OPS": "1", "MAX_JOBS": str(jobs)} | ({"CUDA_VISIBLE_DEVICES": ""} if cpu else {})
    if shutil.which("ninja") is None:  # without it, one file after the other, and all of them again
        variables["PATH"] = os.pathsep.join((str(fetch_ninja(target.with_name("ninja"))), os.environ.get("PATH", "")))
    print(f"compiling {jobs} files at once", flush=True)
    command = [*PIP, "wheel", "--verbose", "--no-deps", "--no-build-isolation", "--wheel-dir", str(target), str(source)]
    log = target.with_name("log.txt")
    with subprocess.Popen(command, env=variables, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        show_progress(process.stdout or (), log)
    if process.returncode:
        tail = "\n".join(log.read_text("utf-8").splitlines()[-30:])
        raise ValueError(f"compiling failed; the whole log is {log}, which ends:\n{tail}")


def fetch_ninja(folder: Path) -> Path:
    """Download ninja into ``folder``, for this build alone; gives the folder to put on PATH."""
    command = [*PIP, "install", "--quiet", "--no-deps", "--upgrade", "--target", str(folder), "ninja"]
    if reason := failure(command):
        raise ValueError(f"pip could not download ninja ({reason}); connect once, or install it")
    return folder / "bin"


def show_progress(lines: Iterable[str], log: Path) -> None:
    """Copy ``lines`` to the log; on the terminal, show the latest of ninja's steps, and about how long the rest takes."""
    seen, start = 0, time.monotonic()
    with log.open("w", encoding="utf-8") as file:
        for line in lines:
            file.write(line)
            file.flush()
            if step := STEP.match(line):
                seen += 1
                left = (time.monotonic() - start) / seen * (int(step[2]) - int(step[1])) / 60
                print(
                    f"{step[1]} of {step[2]} files compiled, {left:.0f} min left ",
                    end="\r" if sys.stdout.isatty() else "\n",
                    flush=True,
                )


if __name__ == "__main__":
    main()
