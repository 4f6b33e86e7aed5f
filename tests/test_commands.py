"""The command ``finevit``: what it offers, how lightly it starts, and configs by name."""

import runpy
import subprocess
import sys
from pathlib import Path

import pytest

from finevit.__main__ import main, names
from finevit.config.bundled import bundled
from finevit.config.loading import ConfigError, load_config

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize("command", sorted(names()))
def test_every_command_has_a_tool_of_the_same_usage(command, monkeypatch, capsys):
    tool = {"inspect": "inspect_config", "show": "show_data", "plan": "train"}.get(command, command.replace("-", "_"))
    monkeypatch.setattr(sys, "path", [*sys.path])
    said = []
    for run in (main, lambda: runpy.run_path(str(ROOT / f"tools/{tool}.py"), run_name="__main__")):
        monkeypatch.setattr(sys, "argv", ["finevit", command, "--help"] if run is main else [f"{tool}.py", "--help"])
        with pytest.raises(SystemExit, match="0"):
            run()
        said.append(" ".join(capsys.readouterr().out.split()))
    assert said[0].startswith(f"usage: finevit {command} [-h]")
    assert said[1] == said[0].replace(f"usage: finevit {command} ", f"usage: {tool}.py ")


def test_the_commands_are_listed_and_an_unknown_one_is_refused(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["finevit"])
    with pytest.raises(SystemExit, match="0"):
        main()
    assert "\n  train             Trains a config\n" in capsys.readouterr().out
    monkeypatch.setattr(sys, "argv", ["finevit", "trian"])
    with pytest.raises(SystemExit, match="2"):
        main()
    assert "'trian' is no command (did you mean 'train'?); there are: bench, export," in capsys.readouterr().err


def test_train_listens_before_anything_heavy_is_imported():
    """As far as the arguments, of which one is wrong."""
    heavy = "print(*{'torch', 'mmengine', 'cv2'} & set(sys.modules))"
    code = f"import sys; from finevit.__main__ import main\ntry: main()\nfinally: {heavy}"
    done = subprocess.run([sys.executable, "-c", code, "train", "x.py", "--no-such-flag"], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (2, "\n")


def test_a_config_by_name_is_the_one_of_the_checkout_and_a_local_file_comes_first(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "finevit_tiny_stage2").mkdir()
    for name in ("finevit_tiny_stage2", "finevit_tiny_stage2.py"):
        assert load_config(name).filename == str(ROOT / "configs/finevit_tiny_stage2.py")
    assert load_config("upernet_finevit_l_ade20k").filename == str(ROOT / "configs/downstream/upernet_finevit_l_ade20k.py")
    (tmp_path / "finevit_tiny_stage2.py").write_text("train_cfg = dict(max_iters=3)")
    assert load_config("finevit_tiny_stage2.py").to_dict() == {"train_cfg": {"max_iters": 3}}
    with pytest.raises(ConfigError, match=r"'finevit_tiny_stag3' does not exist \(did you mean 'finevit_tiny_stage3'\?\)"):
        load_config("finevit_tiny_stag3")
    with pytest.raises(ConfigError, match=r"'x' does not exist; .*; FineViT's own: finevit_l_stage1, finevit_l_stage2,"):
        load_config("x")
    with pytest.raises(ConfigError, match="does not exist"):
        load_config("configs/finevit_tiny_stage1.py")


def test_a_base_of_ours_is_named_from_anywhere(tmp_path):
    assert {file.relative_to(ROOT / "configs").as_posix() for file in bundled().values()} == {
        file.relative_to(ROOT / "configs").as_posix() for file in (ROOT / "configs").rglob("*.py") if "_base_" not in file.parts
    }
    own = tmp_path / "own.py"
    own.write_text("_base_ = 'finevit::finevit_tiny_stage2.py'")
    assert load_config(own).to_dict() == load_config("finevit_tiny_stage2").to_dict()
    own.write_text("_base_ = ['finevit::_base_/muon.py']")
    assert load_config(own).to_dict() == load_config(ROOT / "configs/_base_/muon.py").to_dict()
    own.write_text("_base_ = 'finevit::finevit_tiny_stag2.py'")
    with pytest.raises(ConfigError, match=r"is no config of FineViT \(did you mean 'finevit::finevit_tiny_stage2.py'\?\)"):
        load_config(own)
