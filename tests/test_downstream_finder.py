"""How the stand-ins for mmcv's compiled operations are found, and when they give way."""

import importlib.machinery
import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

from finevit.downstream import ops
from finevit.downstream.finder import NAME, StandIn, install
from finevit.downstream.ops.__main__ import write, write_first


def test_the_finder_is_last_and_serves_one_module():
    install()
    finders = [finder for finder in sys.meta_path if isinstance(finder, StandIn)]
    assert len(finders) == 1
    assert finders[0].find_spec("mmcv._extra", None) is None
    module = importlib.util.module_from_spec(finders[0].find_spec(NAME, None))
    module.__spec__.loader.exec_module(module)
    assert module.nms is ops.nms
    assert module.anything.__name__ == "anything"


def run(code, folder):
    done = subprocess.run([sys.executable, "-c", code], env={"PYTHONPATH": str(folder)}, capture_output=True, text=True)
    return done.stdout.strip() or done.stderr


def test_a_module_of_mmcvs_own_comes_before_the_stand_in(tmp_path):
    (tmp_path / "mmcv").mkdir()
    (tmp_path / "mmcv" / "__init__.py").touch()
    code = "import finevit, mmcv._ext; print(mmcv._ext.__spec__.origin)"
    assert run(code, tmp_path) == "finevit.downstream.ops"
    own = tmp_path / "mmcv" / "_ext.py"
    own.touch()
    assert run(code, tmp_path) == str(own)


def test_importing_finevit_stays_light():
    heavy = ("torch", "torchvision", "mmcv", "mmengine", "mmdet", "mmseg", "mmpretrain", "transformers", "timm", "numpy")
    assert run(f"import finevit, sys; print([name for name in {heavy} if name in sys.modules])", Path.cwd()) == "[]"


def test_the_written_file_gives_way_to_a_compiled_module(tmp_path):
    file = write(tmp_path)
    assert write(tmp_path) == file
    namespace = {}
    exec(file.read_text("utf-8"), namespace)
    assert namespace["nms"] is ops.nms
    compiled = tmp_path / f"_ext{importlib.machinery.EXTENSION_SUFFIXES[0]}"
    compiled.touch()
    assert importlib.machinery.PathFinder.find_spec("_ext", [str(tmp_path)]).origin == str(compiled)
    with pytest.raises(ValueError, match="mmcv has its compiled operations"):
        write(tmp_path)


def test_mmpretrain_loads_in_programs_that_never_name_finevit(tmp_path):
    """In a folder of packages with a copy of what matters: it takes its own switch for what transformers is too new for."""
    package = tmp_path / "mmpretrain"
    for name, text in {
        "__init__.py": "from mmpretrain import models",
        "utils/__init__.py": "",
        "utils/dependency.py": "WITH_MULTIMODAL = True",
        "models/__init__.py": "from mmpretrain.utils.dependency import WITH_MULTIMODAL",
    }.items():
        (package / name).parent.mkdir(parents=True, exist_ok=True)
        (package / name).write_text(text)
    code = f"import site; site.addsitedir({str(tmp_path)!r}); import mmpretrain; print(mmpretrain.models.WITH_MULTIMODAL)"
    assert run(code, tmp_path) == "True"
    first = write_first(tmp_path)
    assert run(code, tmp_path) == "False"
    assert run(code.replace("import site", "import sys; sys.modules['finevit'] = None; import site", 1), tmp_path) == "True"
    first.unlink()
    assert run(code, tmp_path) == "True"


def test_a_file_of_somebody_else_is_left_alone(tmp_path):
    (tmp_path / "_ext.py").write_text("import secret")
    with pytest.raises(ValueError, match="is not of finevit's making"):
        write(tmp_path)
