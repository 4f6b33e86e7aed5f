"""FineViT as pip installs it, without its repository: what the wheel holds, and each command from an empty folder."""

import importlib
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
QUICK = ("train_cfg.max_iters=2", "train_dataloader.batch_size=2", "val_dataloader.dataset.source.length=16")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from a copy, so that nothing is left in the checkout."""
    folder = tmp_path_factory.mktemp("wheel")
    for name in ("finevit", "plugins", "configs"):
        shutil.copytree(ROOT / name, folder / "source" / name, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("setup.py", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, folder / "source" / name)
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--no-index"]
    subprocess.run([*command, "--wheel-dir", str(folder), str(folder / "source")], check=True, capture_output=True)
    return next(folder.glob("*.whl"))


def files(folder: str, installed: str) -> set[str]:
    """The files of a folder of the checkout, as they are called where they are installed."""
    paths = [path for path in (ROOT / folder).rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    return {f"{installed}/{path.relative_to(ROOT / folder).as_posix()}" for path in paths}


def test_a_wheel_holds_every_file_of_the_packages(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as opened:
        names = opened.namelist()
        entries = next(opened.read(name).decode() for name in names if name.endswith("entry_points.txt"))
    held = {name for name in names if ".dist-info/" not in name}
    wanted = files("finevit", "finevit") | files("plugins", "finevit_plugins") | files("configs", "finevit/.mim/configs")
    assert held == wanted
    assert "finevit = finevit.__main__:main" in entries
    assert "bundled = finevit_plugins" in entries
    assert held >= {
        "finevit/.mim/configs/finevit_tiny_stage1.py",
        "finevit/.mim/configs/_base_/runtime.py",
        "finevit/export/templates/modeling_finevit.py",
        "finevit/scenes/tokenizer/tokenizer.json",
        "finevit/scenes/chat_tokenizer/tokenizer.json",
        "finevit/scenes/vocabulary.tsv",
        "finevit/evaluation/imagenet_classes.tsv",
        "finevit/evaluation/openai80.txt",
        "finevit/py.typed",
    }


@pytest.fixture(scope="module")
def finevit(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., str]:
    """The command of an environment that has the wheel and what it requires, called in a folder that was empty; what it says."""
    folder = tmp_path_factory.mktemp("empty")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(ROOT / "tools")
        steps = importlib.import_module("environment").Steps(folder.with_name("environment"))
    python = Path(steps.python)
    steps.do("virtual environment", [sys.executable, "-m", "venv", str(python.parents[1])])
    install = [sys.executable, "-m", "uv", "pip", "install", "--python", str(python), "--constraint", "constraints.txt"]
    steps.do("the wheel and what it requires", [*install, str(wheel)])
    steps.check()

    def run(*arguments: str, code: int = 0) -> str:
        done = subprocess.run(
            [str(python.with_name("finevit")), *arguments], cwd=folder, capture_output=True, text=True, timeout=600
        )
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout + done.stderr

    return run


@pytest.mark.slow
def test_the_command_trains_and_serves_without_the_repository(finevit: Callable[..., str], tmp_path: Path) -> None:
    """In an environment of its own, by the names of configs."""
    run, own = "work_dirs/finevit_tiny_stage1", tmp_path / "own.py"
    own.write_text("_base_ = 'finevit::finevit_tiny_stage2.py'\ntrain_cfg = dict(max_iters=7)\n")
    assert "bundled  (finevit 0." in finevit("plugins")
    assert "max_iters=7" in finevit("inspect", str(own))
    assert "images/s" in finevit("plan", "finevit_tiny_stage1", "--cfg-options", *QUICK)
    assert f"{run}/report.html" in finevit("train", "finevit_tiny_stage1", "--cfg-options", *QUICK)
    assert "results.json" in finevit("test", "finevit_tiny_stage1", f"{run}/iter_2.pth", "--cfg-options", *QUICK)
    assert "model.safetensors" in finevit("export", f"{run}/iter_2.pth", "--to", "safetensors", "--out", str(tmp_path / "exported"))
    assert "12 records drawn" in finevit("show", "--out", str(tmp_path / "page.png"))
    assert "there run `make bench`" in finevit("bench", "encoder", code=2)
    assert "did you mean 'finevit_tiny_stage1'" in finevit("train", "finevit_tiny_stage_1", code=2)
    assert "did you mean 'train'" in finevit("trian", code=2)
