"""The tool that runs mmdet's and mmseg's own tests, on a repository of our making."""

import runpy
import subprocess
import sys
from pathlib import Path

import pytest

TOOL = Path(__file__).parents[1] / "tools/maintenance/upstream_tests.py"
HEAD = """
import mmseg
from mmcv.ops.nms import ext_module

def test_psa_head():
    assert False

def test_installed_code_runs_on_stand_ins():
    assert "site-packages" in mmseg.__file__
    assert ext_module.__name__ == "finevit.downstream.ops"
"""


def run(repository: Path) -> tuple[int, str]:
    done = subprocess.run([sys.executable, TOOL, "--mmseg", repository], capture_output=True, text=True)
    return done.returncode, done.stdout + done.stderr


@pytest.mark.slow
def test_tests_run_on_installed_code_and_any_failure_but_the_named_ones_fails(tmp_path):
    for name in runpy.run_path(str(TOOL))["TESTS"]["mmseg"].split():
        path = tmp_path / "tests" / name
        (path.parent if path.suffix else path).mkdir(parents=True, exist_ok=True)
        if path.suffix:
            path.write_text("def test_nothing():\n    pass\n")
    (tmp_path / "mmseg").mkdir()
    (tmp_path / "mmseg" / "__init__.py").write_text("raise ImportError")
    head = tmp_path / "tests/test_models/test_heads/test_head.py"
    head.write_text(HEAD)
    status, said = run(tmp_path)
    assert status == 0, said
    assert "3 passed, 1 skipped" in said
    assert "needs PSANet's operation" in said
    head.write_text(HEAD + "\ndef test_other():\n    assert False\n")
    status, said = run(tmp_path)
    assert status == 1, said
    assert "FAILED tests/test_models/test_heads/test_head.py::test_other" in said
    assert said.endswith("failed: mmseg\n")
