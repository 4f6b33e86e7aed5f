"""What the export refuses: other stages, folders that are not empty, wrong checkpoints with their keys; and its tool."""

import runpy
import sys
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from sample_exports import ROOT, change, make_checkpoint

from finevit.export.run import export


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    """A checkpoint of Stage I."""
    return make_checkpoint(tmp_path_factory.mktemp("whole") / "stage1", 1)[0]


def test_targets_refuse_other_stages(whole: Path, tmp_path: Path) -> None:
    for target, stage in (("open_clip", "II"), ("llava", "III")):
        with pytest.raises(ValueError, match=f"is of Stage I; give a checkpoint of Stage {stage}"):
            export(whole, target, tmp_path / "out")
    cut = change(make_checkpoint(tmp_path / "run", 3)[0], tmp_path, lambda c: c["state_dict"].pop("connector.norm.bias"))
    with pytest.raises(ValueError, match=r"connector\.norm\.bias: missing"):
        export(cut, "llava", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_the_tool_prints_files_and_explains_what_it_refuses(whole: Path, tmp_path: Path, monkeypatch, capsys) -> None:
    arguments = ["export.py", str(whole), "--to", "safetensors", "--out", str(tmp_path / "out")]
    monkeypatch.setattr(sys, "argv", arguments)
    runpy.run_path(str(ROOT / "tools/export.py"), run_name="__main__")
    names = ["README.md", "encoder_finevit.py", "model.safetensors"]
    assert capsys.readouterr().out.split() == [str(tmp_path / "out" / name) for name in names]
    with pytest.raises(SystemExit, match="2"):
        runpy.run_path(str(ROOT / "tools/export.py"), run_name="__main__")
    assert "is not empty; give a new folder" in capsys.readouterr().err


def test_wrong_checkpoints_are_refused_with_their_keys(whole: Path, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)

    def spoil(content: dict) -> None:
        weights = content["state_dict"]
        del weights["backbone.norm.bias"]
        weights["backbone.extra"] = torch.zeros(1)
        weights["backbone.embed.bias"] = torch.zeros(3)
        weights["backbone.norm.weight"][0] = float("nan")

    with pytest.raises(ValueError, match="4 keys do not fit") as caught:
        export(change(whole, tmp_path, spoil), "hf", tmp_path / "out")
    for line in (
        "backbone.norm.bias: missing",
        "backbone.extra: unexpected",
        "backbone.embed.bias: is [3], wanted [64]",
        "backbone.norm.weight: holds numbers that are not finite",
        "--config",
    ):
        assert line in str(caught.value)
    assert not (tmp_path / "out").exists()

    def forget(content: dict) -> None:
        content["state_dict"] = {k: v for k, v in content["state_dict"].items() if not k.startswith("backbone")}

    with pytest.raises(ValueError, match=r"and 11 more, all of them in changed_refused_keys\.txt"):
        export(change(whole, tmp_path, forget), "hf", tmp_path / "out")
    assert len((tmp_path / "changed_refused_keys.txt").read_text().splitlines()) == 31


def test_what_is_no_checkpoint_is_refused(whole: Path, tmp_path: Path) -> None:
    (tmp_path / "broken.pth").write_bytes(b"nothing")
    with pytest.raises(ValueError, match=r"checkpoint=.*broken\.pth' cannot be read as a checkpoint"):
        export(tmp_path / "broken.pth", "hf", tmp_path / "out")
    with pytest.raises(ValueError, match="holds no config; give the one that it was trained with by --config"):
        export(change(whole, tmp_path, lambda content: content["meta"].clear()), "hf", tmp_path / "out")
    with pytest.raises(ValueError, match="did you mean 'onnx'"):
        export(whole, "onx", tmp_path / "out")
    with pytest.raises(ValueError, match="not empty"):
        export(whole, "hf", whole.parent)

    def windows(content: dict) -> None:
        cfg = Config.fromstring(content["meta"]["cfg"], file_format=".py")
        cfg.model.backbone.window = 4
        content["meta"]["cfg"] = cfg.pretty_text

    with pytest.raises(ValueError, match=r"model\.backbone\.window=4"):
        export(change(whole, tmp_path, windows), "hf", tmp_path / "out")
