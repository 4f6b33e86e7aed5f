"""Power cuts: an ext4 image on a loop device, copied while a run writes; where that is not allowed, a shim of ``os.fsync``.

The copy of the image holds what reached the disk, and is recovered by its journal when it is mounted. The shim keeps what was
synced of a folder: contents of files by inode, and names. A cut leaves names as they were synced or, as harsh, as they are now,
and in both cases the contents that were synced, or none.
"""

import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

SIZE = 384 << 20
TRIES, PATIENCE = 40, 5


def can_mount(folder: Path) -> bool:
    """Whether an image can be made and mounted here."""
    try:
        make_image(folder / "try.img")
        with mounted(folder / "try.img", folder / "try"):
            return True
    except (OSError, subprocess.CalledProcessError):
        return False
    finally:
        (folder / "try.img").unlink(missing_ok=True)


def make_image(path: Path) -> None:
    """An empty ext4 file system."""
    with path.open("wb") as file:
        file.truncate(SIZE)
    subprocess.run(["mkfs.ext4", "-q", str(path)], check=True, capture_output=True)


@contextmanager
def mounted(image: Path, place: Path) -> Iterator[Path]:
    """The image as a folder."""
    place.mkdir(exist_ok=True)
    subprocess.run(["mount", "-o", "loop", str(image), str(place)], check=True, capture_output=True)
    try:
        yield place
    finally:
        for _ in range(TRIES):
            if subprocess.run(["umount", str(place)], capture_output=True, check=False).returncode == 0:
                break
            time.sleep(0.25)


def copy_image(image: Path, copy: Path, writer: int) -> None:
    """Copies what reached the disk. What reaches it meanwhile spoils the copy, which is tried again, in the end while the process
    ``writer`` is stopped: what it has not synced stays in memory."""
    for tried in range(TRIES):
        before = image.stat().st_mtime_ns
        subprocess.run(["cp", "--sparse=always", str(image), str(copy)], check=True)
        if image.stat().st_mtime_ns == before:
            os.kill(writer, signal.SIGCONT)
            return
        if tried >= PATIENCE:
            os.kill(writer, signal.SIGSTOP)
    raise RuntimeError("the image does not rest")


def drop_unsynced(folder: Path, mirror: Path) -> None:
    """Has ``os.fsync`` of this process keep in ``mirror`` what a power cut would leave of ``folder``."""
    real, kept = os.fsync, []
    mirror.mkdir(parents=True, exist_ok=True)

    def fsync(file: int) -> None:
        real(file)
        path, state = Path(os.readlink(f"/proc/self/fd/{file}")), os.fstat(file)
        if path == folder:
            draft = mirror / "names.draft"
            draft.write_text(json.dumps(_inodes(folder)))
            draft.replace(mirror / "names")
        elif path.parent == folder:
            kept.append(os.dup(file))  # no other file gets its inode
            shutil.copyfile(path, mirror / "draft")
            (mirror / "draft").replace(mirror / str(state.st_ino))

    os.fsync = fsync


def _inodes(folder: Path) -> dict[str, int]:
    return {each.name: each.inode() for each in os.scandir(folder) if each.is_file()}


def cut(folder: Path, mirror: Path, left: Path, *, harsh: bool) -> None:
    """What a cut leaves of a folder: names as synced or, where ``harsh``, as they are now; contents as synced, or none."""
    names = _inodes(folder) if harsh else json.loads((mirror / "names").read_text()) if (mirror / "names").exists() else {}
    left.mkdir()
    for name, inode in names.items():
        (left / name).touch()
        with suppress(FileNotFoundError):
            shutil.copyfile(mirror / str(inode), left / name)


def wait_for(what: Callable[[], object], seconds: float = 120) -> None:
    """Returns once ``what`` is so."""
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end, "nothing came"
        time.sleep(0.01)
