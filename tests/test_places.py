"""Places that are full, closed or not there: named, nothing half is left, and what a run can do without stops none."""

import errno
import logging
import os
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import IO

import numpy as np
import pytest

from finevit.console import take_over
from finevit.engine.cli import user_errors
from finevit.evaluation.results import Results
from finevit.export import run as export_run
from finevit.scenes import sprites
from finevit.scenes.source import Scenes
from finevit.storage.durable import write_file
from finevit.storage.places import Spared, cache_folder, check_writable, full_place, writing


def full(*_: object) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def test_a_place_is_named_with_what_to_do():
    told = r"^out cannot be written \(No space left on device\); free space there, or give another place$"
    with pytest.raises(ValueError, match=told), writing("out"):
        full()
    with pytest.raises(ValueError, match=r"^out cannot be written \(No: a/b\); give another place$"), writing("out"):
        raise PermissionError(errno.EACCES, "No", "a/b")


def test_tools_print_what_the_system_says_of_a_place_and_end(capsys):
    with pytest.raises(SystemExit) as ended, user_errors():
        raise OSError(errno.EROFS, "Read-only file system", "w/x.json")
    assert ended.value.code == 2
    said = "error: the system refused a file (Read-only file system: w/x.json); see to the permissions of this place"
    assert capsys.readouterr().err == f"{said}, or give another\n"
    with pytest.raises(ConnectionResetError), user_errors():
        raise ConnectionResetError(errno.ECONNRESET, "Connection reset by peer")


def test_a_full_place_is_named_where_the_system_names_none(monkeypatch, tmp_path, capsys):
    room = {"f_frsize": 4096, "f_files": 10, "f_favail": 9}
    monkeypatch.setattr(os, "statvfs", lambda place: SimpleNamespace(f_bavail=0 if place == tmp_path else 99, **room))
    monkeypatch.setattr(sys, "argv", ["train.py", "--cfg-options", f"work_dir={tmp_path / 'new/run'}"])
    with pytest.raises(SystemExit), user_errors():
        full()
    said = f"error: the system refused a file (No space left on device: {tmp_path / 'new/run'}); free space there, or"
    assert capsys.readouterr().err.startswith(said)
    assert full_place([tmp_path.parent]) == ""


def test_a_place_is_tried_before_any_work(tmp_path):
    check_writable(tmp_path / "new/run")
    assert os.listdir(tmp_path / "new/run") == []
    (tmp_path / "file").touch()
    with pytest.raises(ValueError, match=r"^out='.*/file/run' cannot be written \(Not a directory: .*/file\); give another$"):
        check_writable(tmp_path / "file/run", setting="out", remedy="give another")


def test_what_a_run_can_do_without_is_told_once(caplog):
    spared = Spared("curves")
    for _ in range(3):
        with spared.writing(logging.getLogger("spared")):
            full()
    assert caplog.messages == ["curves cannot be written (No space left on device); the run goes on without"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
def test_a_log_file_on_a_full_disk_is_told_once_and_stops_nothing(capsys):
    logger = logging.Logger("full")
    file = logging.FileHandler("/dev/full")
    logger.handlers = [logging.StreamHandler(), file]
    take_over(logger)
    for step in range(3):
        logger.info("step %d", step)
    assert capsys.readouterr().out.count("the log file /dev/full cannot be written (No space left on device)") == 1
    os.dup2(os.open(os.devnull, os.O_WRONLY), file.stream.fileno())  # there is room again
    file.close()


def test_the_cache_is_where_xdg_says_and_not_where_no_home_is(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder() == tmp_path / "finevit"
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    assert cache_folder() == Path.home() / ".cache/finevit"

    def homeless() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", homeless)
    with pytest.raises(OSError, match="set XDG_CACHE_HOME"):
        cache_folder()


def test_scenes_are_the_same_without_a_cache_which_is_told_once(monkeypatch, tmp_path, caplog):
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    monkeypatch.setattr(sprites, "_unkept", {})
    train, val = (Scenes(level="easy", split=split, length=2) for split in ("train", "val"))
    told = [message for message in caplog.messages if "not kept" in message]
    assert len(told) == 1
    assert "Not a directory" in told[0]
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(sprites, "_unkept", {})
    kept = Scenes(level="easy", split="train", length=2)
    assert np.array_equal(kept[1].image, train[1].image)
    assert len(val) == 2
    assert len(list((tmp_path / "cache/finevit").glob("sprites-*.npy"))) == 1


def test_nothing_half_is_left_in_a_cache_that_is_full(tmp_path):
    with pytest.raises(OSError, match=r"No space left on device: '.*/made/a\.npy'$"):
        write_file(tmp_path / "made/a.npy", full, shared=True)
    assert list((tmp_path / "made").iterdir()) == []


def test_processes_that_write_one_file_at_once_do_not_meet(tmp_path):
    def save(file: IO[bytes]) -> None:
        file.write(b"first")
        write_file(tmp_path / "a", lambda other: other.write(b"second, which is longer"), shared=True)
        assert (tmp_path / "a").read_bytes() == b"second, which is longer"

    write_file(tmp_path / "a", save, shared=True)
    assert (tmp_path / "a").read_bytes() == b"first"
    assert os.listdir(tmp_path) == ["a"]


def test_an_export_to_a_full_disk_is_named_and_leaves_nothing(monkeypatch, tmp_path):
    monkeypatch.setattr(export_run, "read_source", lambda *_: None)
    monkeypatch.setattr(
        "finevit.export.to_hf.HuggingFaceExporter.write", lambda self, source, folder: (folder / "half").touch() or full()
    )
    with pytest.raises(ValueError, match=r"--out '.*/out' cannot be written \(No space left on device\); free space there"):
        export_run.export("a.pth", "hf", tmp_path / "out")
    assert os.listdir(tmp_path) == []


def test_results_that_cannot_be_written_name_their_place(monkeypatch, tmp_path):
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(
        ValueError, match=r"results\.json cannot be written \(No space left on device\); free space there.* are whole"
    ):
        Results(tmp_path).add(1, {"a": 1.0}, protocols={}, data="x", images=1)
    assert os.listdir(tmp_path) == []
