"""Places that are full, read-only or no folder: each is named, nothing half is left, every checkpoint is whole, and once there is
room the run goes on to the weights of one that was not disturbed."""

import json
import os
import random
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from forked import HUNG, ROOT, Forked, forked
from readers import CONFIG

from finevit.engine.checkpoints import check_resumable
from finevit.storage.durable import check_digest

MOMENTS = (
    *(r"\.log$", "/config.py", "scalars.json", r"iter_1\.pth\.unf", r"iter_2\.pth\.sha256", r"iter_4\.pth\.unf", "last_checkpoint"),
    *("report_before", r"results\.json", r"report\.html"),
)
"""Files of a run; the disk is full from the moment that one is opened to be written."""
SAYS = ("No space left on device", "Read-only file system", "Not a directory", "File too large", "is not empty", "is no folder")
LEAST, MOST = 1 << 17, 4 << 20
"""Bytes of a work dir: fewer than a log needs, and more than a run needs."""


@pytest.fixture(scope="module")
def tools() -> Iterator[Forked]:
    with forked() as made:
        yield made


@pytest.fixture(scope="module")
def base(tools, tmp_path_factory) -> Path:
    """A folder with the config and ``run``, which nothing disturbed."""
    folder = tmp_path_factory.mktemp("base")
    text = CONFIG.replace("custom_hooks = []", 'custom_hooks = [dict(type="finevit.ReportHook", images=2)]')
    text = text.replace("interval=2", "interval=1").replace("max_iters=4", "max_iters=4, val_interval=2")
    (folder / "config.py").write_text(text)
    code, said = tools.run("train", folder / "config.py", "--work-dir", folder / "run", log=folder / "log")
    assert code == 0, said
    return folder


@contextmanager
def mounted(folder: Path, size: int) -> Iterator[bool]:
    """A folder with room for ``size`` bytes; where the rights for that are not there, nothing is mounted."""
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
    done = os.geteuid() == 0 and subprocess.run(mount, capture_output=True).returncode == 0
    try:
        yield done
    finally:
        if done:
            subprocess.run(["umount", "-l", str(folder)], check=True)


def remount(folder: Path, options: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{options}", str(folder)], check=True)


def filled(folder: Path) -> list[str]:
    return ["sh", "-c", f"cat /dev/zero > '{folder}/filler'"]


def check(place: Path, code: int, said: str) -> None:
    """What holds wherever there was no room."""
    assert code != HUNG, said
    assert "Traceback" not in said, said
    left = [path for path in place.rglob("*") if path.suffix == ".unfinished" or path.name.startswith((".o", "tmp"))]
    assert not left, (left, said)
    for checkpoint in place.rglob("iter_*.pth"):
        assert check_digest(checkpoint) == ""
        check_resumable(str(checkpoint))
    if code:
        error = said[said.rindex("error: ") :]
        assert str(place) in error, said
        assert any(word in error for word in SAYS), said


def state(work_dir: Path) -> dict[str, torch.Tensor]:
    return torch.load(work_dir / "iter_4.pth", weights_only=False, mmap=True)["state_dict"]


def test_full_work_dirs(trial, tools, base, tmp_path):
    """From the moment that a file is written, or for want of a size; then there is room, and the run goes on."""
    chance = random.Random(0)
    sizes = [int(LEAST * (MOST / LEAST) ** chance.random()) for _ in range(10)]
    attempts = [*MOMENTS, *sizes]
    chance.shuffle(attempts)
    found = {"attempts": trial.count(len(attempts)), "ended": 0, "identical": 0}
    for number, attempt in enumerate(attempts[: found["attempts"]]):
        place = tmp_path / f"{number}"
        with mounted(place, attempt if isinstance(attempt, int) else MOST) as small:
            size = attempt if isinstance(attempt, int) else chance.choice(sizes)
            how = {"at": (attempt, filled(place))} if isinstance(attempt, str) else {}
            how = how if small else {"limits": {"RLIMIT_FSIZE": size}}
            train = ("train", base / "config.py", "--work-dir", place / "run")
            code, said = tools.run(*train, log=tmp_path / "log", **how)
            print(attempt, code, said[-300:], flush=True)
            check(place, code, said)
            assert code == 2 or (isinstance(attempt, int) and (place / "run/report.html").exists()), said
            found["ended"] += code == 2
            if small:
                (place / "filler").unlink(missing_ok=True)
                remount(place, f"size={8 * MOST}")
            code, said = tools.run(*train, "--resume", log=tmp_path / "log")
            assert code == 0, said
            assert (place / "run/report.html").exists()
            ended, wanted = state(place / "run"), state(base / "run")
            found["identical"] += all(torch.equal(ended[name], value) for name, value in wanted.items())
    trial.record(**found)
    assert found["identical"] == found["attempts"]
    assert found["ended"] >= min(1, len(MOMENTS))


def commands(base: Path) -> dict:
    """By name: a command that writes into a place, and what it writes."""
    checkpoint, config = base / "run/iter_4.pth", base / "config.py"
    exports = {
        f"export_{to}": lambda place, to=to: ("export", checkpoint, "--to", to, "--out", place / "o")
        for to in ("safetensors", "hf", "timm", "llava")
    }
    return exports | {
        "train": lambda place: ("train", config, "--work-dir", place / "o"),
        "resume": lambda place: ("train", config, "--resume", checkpoint, "--work-dir", place / "o"),
        "plan": lambda place: ("train", config, "--plan", "--work-dir", place / "o"),
        "test": lambda place: ("test", config, checkpoint, "--work-dir", place / "o"),
        "probe": lambda place: ("probe", checkpoint, "--images", "8", "4", "--probes", "knn", "--work-dir", place / "o"),
        "pictures": lambda place: ("show_data", "--n", "4", "--out", place / "o/page.png"),
        "page": lambda place: ("show_data", "--n", "2", "--out", place / "o/page.html"),
        "scenes": lambda place: ("write_scenes", place / "o", "--train", "8", "--val", "8"),
        "tokenizer": lambda place: ("train_tokenizer", "--data-root", base / "texts", "--size", "300", "--out", place / "o"),
    }


def test_places_of_tools(trial, tools, base, tmp_path):
    """Every tool that writes, into a place that is full, read-only, a file, or too small for all of it."""
    (base / "texts").mkdir()
    (base / "texts/a.ppm").write_bytes(b"P6 2 2 255\n" + bytes(12))
    (base / "texts/a.txt").write_text("a cat on a mat")
    pairs = [(name, how) for name in commands(base) for how in ("full", "read-only", "file", "small")]
    random.Random(1).shuffle(pairs)
    pairs, named = pairs[: trial.count(len(pairs))], 0
    for number, (name, how) in enumerate(pairs):
        place = tmp_path / f"{number}"
        with mounted(place, 64 << 10 if how == "small" else 1 << 20) as possible:
            if how == "file":
                (place / "o").write_text("a file")
            elif not possible:
                continue
            elif how == "full":
                subprocess.run(filled(place), capture_output=True)
            elif how == "read-only":
                remount(place, "ro")
            code, said = tools.run(*commands(base)[name](place), log=tmp_path / "log")
            print(name, how, code, said[-300:], flush=True)
            check(place, code, said)
            assert code == 2 or how == "small", said
            named += code == 2
            if name.startswith("export") and how != "file":
                assert not (place / "o").exists()
    trial.record(attempts=len(pairs), named=named)


def surroundings(tmp_path: Path) -> dict:
    """By name: what else a run writes to, in a bad state."""
    (tmp_path / "file").write_text("a file")
    (tmp_path / "cache/finevit").mkdir(parents=True)
    root = os.geteuid() == 0
    made = {
        "cache is a file": {"environment": {"XDG_CACHE_HOME": str(tmp_path / "file")}},
        "cache is a device": {"environment": {"XDG_CACHE_HOME": "/dev/null"}},
        "no cache and no home": {"environment": {"XDG_CACHE_HOME": "", "HOME": "/proc/none"}},
        "TMPDIR is a file": {"environment": {"TMPDIR": str(tmp_path / "file")}},
        "TMPDIR is not there": {"environment": {"TMPDIR": str(tmp_path / "none")}},
    }
    cache = {"environment": {"XDG_CACHE_HOME": str(tmp_path / "cache")}}
    mounts = {
        "cache is full": cache | {"small": {str(tmp_path / "cache/finevit"): 4096}},
        "shared memory is full": {"small": {"/dev/shm": 4096}},
        "shared memory is small": {"small": {"/dev/shm": 64 << 10}},
    }
    if not ROOT.is_relative_to("/tmp") and not ROOT.is_relative_to("/var/tmp"):
        mounts["temporary folders are full"] = {"small": {"/tmp": 4096, "/var/tmp": 4096}}
    return made | (mounts if root else {})


def test_surroundings(trial, tools, base, tmp_path):
    """Cache, temporary folders and shared memory: a run does without, to the same results, or ends with a named error."""
    cases = list(surroundings(tmp_path).items())
    random.Random(2).shuffle(cases)
    cases, without, named = cases[: trial.count(len(cases))], 0, 0
    wanted = json.loads((base / "run/results.json").read_text())["evaluations"]
    with mounted(Path("/mnt") / f"finevit-{os.getpid()}", 64 << 20) as possible:
        place = Path("/mnt") / f"finevit-{os.getpid()}" if possible else tmp_path
        (place / "config.py").write_text((base / "config.py").read_text())
        for number, (name, how) in enumerate(cases):
            options = ("--cfg-options", "train_dataloader.num_workers=1", "train_dataloader.persistent_workers=True")
            train = ("train", place / "config.py", "--work-dir", place / f"{number}", *options)
            code, said = tools.run(*train, log=place / "log", **how)
            print(name, code, said[-300:], flush=True)
            assert code in (0, 2), (name, said)
            assert "Traceback" not in said, (name, said)
            without += code == 0
            named += code == 2
            if code == 0:
                assert json.loads((place / f"{number}/results.json").read_text())["evaluations"] == wanted, name
            else:
                assert "error: " in said, said
    if possible:
        place.rmdir()
    trial.record(attempts=len(cases), without=without, named=named)
