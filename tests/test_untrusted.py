"""Checkpoint files of anybody: what is read, what is refused, and that no text in them is run."""

import json
import re
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from mmengine.logging import MessageHub
from mmengine.runner import CheckpointLoader
from safetensors.torch import save_file
from torch import nn

from finevit.backbones import FineViT
from finevit.engine.checkpoints import check_resumable, check_state, forget_others, usable
from finevit.evaluation.probes.features import load_encoder, open_checkpoint
from finevit.export.run import export
from finevit.export.source import read_source
from finevit.hub.trust import VARIABLE
from finevit.hub.untrusted import config_of_encoder, load
from finevit.hub.weights import read_checkpoint
from finevit.plugins import load_plugins


def save(folder: Path, **parts: object) -> Path:
    torch.save({"meta": {"iter": 2, "epoch": 0}, "state_dict": {"a": torch.ones(2)}, **parts}, folder / "x.pth")
    return folder / "x.pth"


@pytest.mark.parametrize("parts", [{}, {"state_dict": None}])
def test_the_config_text_that_mmengine_would_run_is_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, parts: dict) -> None:
    text = f"open({str(tmp_path / 'ran')!r}, 'w')"
    file = save(tmp_path, **parts, meta={"iter": 2, "epoch": 0, "config": text, "cfg": text})
    for content in (CheckpointLoader.load_checkpoint(str(file), logger="silent"), load(file), load(file, mmap=True)):
        assert content["meta"] == {"iter": 2, "epoch": 0, "cfg": text}  # which MMEngine does not run
    monkeypatch.setenv(VARIABLE, "1")
    assert load(file)["meta"]["config"] == text
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("parts", "told"),
    [
        ({"meta": "x"}, "meta no dict but 'x'"),
        ({"optimizer": 5}, "optimizer no dict but 5"),
        ({"message_hub": [1]}, "message_hub no dict but a list"),
        ({"message_hub": {"log_scalars": 3}}, "message_hub.log_scalars no dict but 3"),
        (
            {"message_hub": {"runtime_info": {"keep_ckpt_ids": ["../x"]}}},
            "runtime_info.keep_ckpt_ids no list of whole numbers but a l",
        ),
        ({"message_hub": {"resumed_keys": {"a": False}}}, "message_hub.resumed_keys no dict in which all is True but a dict"),
        ({"message_hub": {"runtime_info": {"best_score_r1": "x"}}}, "message_hub.runtime_info.best_score_r1 no number but 'x'"),
        ({"param_schedulers": {"a": 5}}, "param_schedulers.a no list of dicts but 5"),
        ({"param_schedulers": [5]}, "param_schedulers no list of dicts but a list"),
        *(
            ({"meta": {"iter": odd}}, f"meta.iter no whole number of at least 0 but {odd!r}")
            for odd in (-1, "2", float("nan"), 2**70, True)
        ),
        ({"meta": {"seed": 2**32}}, "meta.seed no seed but 4294967296"),
    ],
)
def test_parts_of_another_kind_are_refused_by_name(tmp_path: Path, parts: dict, told: str) -> None:
    file = save(tmp_path, **parts)
    with pytest.raises(ValueError, match=f"^resume='.*x.pth' holds under .*{re.escape(told)}"):
        read_checkpoint(file, setting="resume", remedy="give another")
    with pytest.raises(ValueError, match=f"^checkpoint='.*x.pth' holds under .*{re.escape(told)}"):
        CheckpointLoader.load_checkpoint(str(file), logger="silent")


@pytest.mark.filterwarnings("ignore:`torch.jit:FutureWarning", "ignore:`torch.jit:DeprecationWarning")
def test_programs_are_refused(tmp_path: Path) -> None:
    torch.jit.script(nn.Linear(2, 2)).save(tmp_path / "program.pth")
    with pytest.raises(
        ValueError, match=r"program\.pth' cannot be read as a checkpoint \(is a TorchScript archive, which is a prog"
    ):
        read_checkpoint(tmp_path / "program.pth", setting="checkpoint", remedy="")


@pytest.mark.parametrize("name", ["x.safetensors", "x.pth"])
def test_safetensors_are_known_by_name_and_by_content(tmp_path: Path, name: str) -> None:
    save_file({"backbone.a": torch.arange(3.0)}, tmp_path / name, {"stage": "II"})
    for mmap in (False, True):
        content = load(tmp_path / name, mmap=mmap)
        assert content["state_dict"]["backbone.a"].tolist() == [0, 1, 2]
        assert content["meta"]["metadata"]["stage"] == "II"
    assert CheckpointLoader.load_checkpoint(str(tmp_path / name), logger="silent")["state_dict"].keys() == {"backbone.a"}


HEADER = {"a": {"dtype": "F32", "shape": [2**40], "data_offsets": [0, 2**42]}}


@pytest.mark.parametrize("header", [b"{" + b" " * 40, b"{" * 99_999, json.dumps(HEADER).encode(), b'{"a":{}}', b"{}x"])
@pytest.mark.parametrize("length", [None, 2**40, 2**63, 1])
def test_headers_of_safetensors_that_lie_are_refused(tmp_path: Path, header: bytes, length: int | None) -> None:
    (tmp_path / "x.safetensors").write_bytes((length or len(header)).to_bytes(8, "little") + header)
    with pytest.raises(ValueError, match=r"x\.safetensors' cannot be read as a checkpoint \(.+\)"):
        read_checkpoint(tmp_path / "x.safetensors", setting="checkpoint", remedy="")


def run_of(model: nn.Module, **info: object) -> SimpleNamespace:
    """What of a Runner is looked at."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1)
    wrapper = SimpleNamespace(optimizer=optimizer, state_dict=optimizer.state_dict)
    hub = MessageHub("untrusted", runtime_info=info)
    return SimpleNamespace(
        optim_wrapper=wrapper, param_schedulers=None, _load_from="x.pth", message_hub=hub, hooks=[], work_dir="w"
    )


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda state: state["param_groups"][0].update(lr="x"), r"optimizer\.param_groups\.0\.lr: is 'x', wanted 0\.1"),
        (lambda state: state.update(param_groups=5), r"optimizer\.param_groups: is 5, wanted a list"),
        (lambda state: state["state"].update({0: 5}), r"optimizer\.state\.0: is no state of a parameter"),
        (
            lambda state: state["state"][1].update(exp_avg=torch.ones(9)),
            r"optimizer\.state\.1\.exp_avg: is a tensor \[9\], wanted .*\[3\]",
        ),
        (lambda state: state["state"][1].update(step="x"), r"optimizer\.state\.1\.step: is 'x', wanted 1"),
    ],
)
def test_a_state_that_the_optimiser_could_not_go_on_from_is_refused(change, told: str) -> None:
    model = nn.Linear(2, 3)
    run = run_of(model)
    model(torch.ones(1, 2)).sum().backward()
    run.optim_wrapper.optimizer.step()
    state = run.optim_wrapper.state_dict()
    check_state(run, {"optimizer": state})
    change(state)
    with pytest.raises(ValueError, match=f"(?s)^resume='x.pth': 1 keys do not fit:\n  {told}"):
        check_state(run_of(nn.Linear(2, 3)), {"optimizer": state})


def test_a_run_removes_no_best_checkpoint_but_its_own(tmp_path: Path) -> None:
    run = run_of(nn.Linear(1, 1), best_ckpt=str(tmp_path / "x/best.pth"), best_ckpt_loss=str(tmp_path / "best.pth"))
    run.work_dir, run.logger = str(tmp_path), None
    forget_others(run)
    assert run.message_hub.runtime_info.keys() == {"best_ckpt_loss"}


def test_what_fails_inside_is_a_fault_of_the_file() -> None:
    with (
        pytest.raises(ValueError, match=r"^resume='x.pth' cannot be taken over \(lacks 'epoch'\); give another checkpoint"),
        usable("resume", "x.pth"),
    ):
        raise KeyError("epoch")
    with pytest.raises(OSError, match="full"), usable("resume", "x.pth"):
        raise OSError("full")


def test_exported_safetensors_are_checkpoints_of_the_encoder(tmp_path: Path) -> None:
    load_plugins()
    arch = {"depth": 1, "dim": 16, "heads": 1, "mlp_dim": 16}
    encoder = FineViT(arch=arch)
    image = {"mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5], "pixels": 3136, "snap": 28}
    settings = {**arch, "patch": 14, "pool": "mean", "rope_theta": 100.0}
    told = {"finevit_format": "1", "stage": "II", "config": json.dumps(settings), "image": json.dumps(image)}
    for place, prefix in (("", ""), ("encoder.", "encoder."), ("", "backbone.")):
        file = tmp_path / "model.safetensors"
        save_file({f"{place}{name}": value for name, value in encoder.state_dict().items()}, file, told)
        begun = FineViT(arch=arch, init_cfg={"type": "Pretrained", "checkpoint": str(file), "prefix": prefix})
        begun.init_weights()
        assert torch.equal(begun.blocks[0].attention.qkv.weight, encoder.blocks[0].attention.qkv.weight)
        opened = open_checkpoint(str(file), None, {})
        assert load_encoder(opened).pixels == 3136
        assert read_source(file).image == image
    export(file, "safetensors", tmp_path / "again")
    assert (load(tmp_path / "again/model.safetensors")["state_dict"]["backbone.embed.bias"] == encoder.embed.bias).all()
    with pytest.raises(
        ValueError, match=r"^--to open_clip: model\.safetensors is an export, of the encoder alone; give a checkpoint"
    ):
        export(file, "open_clip", tmp_path / "clip")
    with pytest.raises(ValueError, match=r"^resume='.*model\.safetensors' lacks optimizer, so no run can go on from it"):
        check_resumable(str(file))
    told["config"] = told["config"].replace("16", '"x"')
    save_file(encoder.state_dict(), file, told)
    with pytest.raises(
        ValueError, match=r"model\.safetensors holds no config; give the one that it was trained with by --config FILE"
    ):
        open_checkpoint(str(file), None, {})


@pytest.mark.parametrize("width", ["mlp_dim", "hidden"])
def test_an_export_of_before_has_the_sizes_of_its_encoder(width):
    """Its metadata say ``hidden``, what is called ``mlp_dim`` now."""
    encoder = {"depth": 1, "dim": 16, "heads": 2, width: 24, "patch": 14, "pool": "mean", "rope_theta": 100.0}
    image = {"mean": [0, 0, 0], "std": [1, 1, 1], "snap": 28, "pixels": 3136}
    found = config_of_encoder({"config": json.dumps(encoder), "image": json.dumps(image), "stage": "I"})
    assert found["model"]["backbone"]["arch"] == {"depth": 1, "dim": 16, "heads": 2, "mlp_dim": 24}
