"""The build of mmcv's own operations, short of compiling."""

import importlib.util
import sys
from pathlib import Path

import pytest
import torch

SPEC = importlib.util.spec_from_file_location("build_ops", Path(__file__).parents[1] / "tools/maintenance/build_ops.py")
tool = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(tool)


def test_the_build_raises_older_standards_only():
    setup = "a = ['-std=c++14']\nb = ['-std=c++17', '/std:c++17', '-std=c++23']"
    assert tool.fit_standard(setup, 20) == "a = ['-std=c++20']\nb = ['-std=c++20', '/std:c++20', '-std=c++23']"
    assert tool.torch_standard() >= 17


def test_the_build_says_what_is_missing(monkeypatch):
    monkeypatch.setenv("CXX", "no-such-compiler -O2")
    with pytest.raises(ValueError, match="no C\\+\\+ compiler: 'no-such-compiler' is not on PATH; install one"):
        tool.check_tools(cpu=True)


def test_the_build_brings_ninja_where_there_is_none(tmp_path, monkeypatch):
    monkeypatch.setattr(tool.shutil, "which", lambda name: None)
    monkeypatch.setattr(tool, "fetch_ninja", lambda folder: folder / "bin")
    monkeypatch.setattr(tool, "PIP", [sys.executable, "-c", "import os; print('PATH=' + os.environ['PATH'])"])
    tool.compile_wheel(tmp_path / "source", tmp_path / "new", cpu=True, jobs=2)
    ran = (tmp_path / "log.txt").read_text().strip()
    assert ran.startswith(f"PATH={tmp_path / 'ninja' / 'bin'}:")


def test_a_build_without_a_connection_says_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setattr(tool, "PIP", [sys.executable, "-c", "import sys; sys.exit('no route')"])
    with pytest.raises(ValueError, match="could not download ninja \\(no route\\); connect once, or install it"):
        tool.fetch_ninja(tmp_path / "ninja")


def test_a_finished_wheel_is_found_by_its_versions(tmp_path):
    key = tool.build_key("2.3.6", cpu=True)
    assert key.startswith(f"mmcv2.3.6-torch{torch.__version__.partition('+')[0]}-cpu-{sys.implementation.cache_tag}-")
    assert tool.find_wheel(tmp_path / key) is None
    (tmp_path / key).mkdir()
    (tmp_path / key / "onedl_mmcv.whl").touch()
    assert tool.find_wheel(tmp_path / key) == tmp_path / key / "onedl_mmcv.whl"


def test_the_build_shows_its_steps_and_keeps_the_log(tmp_path, capsys):
    tool.show_progress(["  [1/2] c++ a\n", "warning\n", "[2/2] c++ b\n"], tmp_path / "log.txt")
    assert capsys.readouterr().out == "1 of 2 files compiled, 0 min left \n2 of 2 files compiled, 0 min left \n"
    assert (tmp_path / "log.txt").read_text() == "  [1/2] c++ a\nwarning\n[2/2] c++ b\n"
