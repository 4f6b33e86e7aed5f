"""NaN and infinity in a checkpoint: who goes on from it or begins with it is told where, and what to take instead."""

import copy
import math
import os
import re
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from finevit.engine.checkpoints import StreamingCheckpointHook, check_state, warn_of_lost
from finevit.engine.hooks.checkpoint_hook import DurableCheckpointHook, write
from finevit.engine.hooks.nonfinite_hook import _weights_before
from finevit.hub.weights import newest_finite, odd_state

NAN, INF = math.nan, math.inf


class Model(nn.Module):
    """Two parts, one with statistics."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone, self.head = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3)), nn.Linear(3, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.backbone(x))


def trained(*, frozen: str = "", kind: type = torch.optim.AdamW, **settings: object) -> SimpleNamespace:
    """What hooks see of a run after a step; its checkpoint is ``content``."""
    torch.manual_seed(0)
    model = Model()
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(not frozen or not name.startswith(frozen))
    optimizer = kind(model.parameters(), lr=0.1, **settings)
    model(torch.randn(4, 2)).square().sum().backward()
    optimizer.step()
    content = {
        **{"meta": {"iter": 1, "epoch": 0}, "state_dict": model.state_dict(), "optimizer": optimizer.state_dict()},
        **{"ema_state_dict": {"module.head.bias": torch.ones(1), "steps": torch.tensor(3)}, "param_schedulers": [{"best": INF}]},
    }
    said: list[str] = []
    logger = SimpleNamespace(info=said.append, warning=said.append)
    wrapper = SimpleNamespace(optimizer=optimizer, state_dict=optimizer.state_dict)
    run = {"_resume": True, "_load_from": "x.pth", "param_schedulers": None, "said": said, "logger": logger}
    return SimpleNamespace(model=model, optim_wrapper=wrapper, content=copy.deepcopy(content), **run)


def spoilt(content: dict, path: str, value: float) -> dict:
    """The content with one number of a tensor, or a value, that is other."""
    content = copy.deepcopy(content)
    node, keys = content, [int(key) if key.isdecimal() else key for key in path.split("/")]
    for key in keys[:-1]:
        node = node[key]
    if isinstance(node[keys[-1]], torch.Tensor):
        node[keys[-1]].view(-1)[0] = value
    else:
        node[keys[-1]] = value
    return content


@pytest.mark.parametrize("value", [NAN, INF, -INF])
@pytest.mark.parametrize("hook", [StreamingCheckpointHook, DurableCheckpointHook])
@pytest.mark.parametrize(
    ("path", "resume_alone"),
    [
        ("state_dict/backbone.0.weight", False),
        ("state_dict/backbone.1.running_mean", False),
        ("state_dict/backbone.1.running_var", False),
        ("optimizer/state/0/exp_avg", True),
        ("optimizer/state/5/exp_avg_sq", True),
        ("optimizer/param_groups/0/lr", True),
        ("ema_state_dict/module.head.bias", True),
    ],
)
def test_what_is_not_finite_is_refused_by_name(hook, path, resume_alone, value):
    for setting in ("resume", "load_from"):
        run = trained()
        run._resume = setting == "resume"
        bad = spoilt(run.content, path, value)
        name = path.removeprefix("state_dict/").replace("/", ".")
        if resume_alone and setting == "load_from":
            hook(by_epoch=False).after_load_checkpoint(run, bad)
            continue
        told = rf"^{setting}='x.pth': 1 keys do not fit:\n  {re.escape(name)}: holds numbers that are not finite\ngive another"
        with pytest.raises(ValueError, match=told):
            hook(by_epoch=False).after_load_checkpoint(run, bad)


def test_a_bound_of_a_schedule_may_be_infinite_and_is_no_number_where_it_is_nan():
    content = trained().content
    assert odd_state(content) == []
    assert odd_state(spoilt(content, "param_schedulers/0/best", NAN)) == ["param_schedulers.0.best"]


def write_some(folder: Path, content: dict, suffix: str = ".pth") -> None:
    """From the oldest to the newest: sound, torn, damaged moments, no state, damaged weights."""
    torn = {"meta": {}, "state_dict": {"a": torch.ones(999)}}
    spoilt_moments = spoilt(content, "optimizer/state/0/exp_avg", NAN)
    weights = {"state_dict": content["state_dict"]}
    spoilt_weights = spoilt(content, "state_dict/head.bias", NAN)
    for age, held in enumerate((spoilt_weights, weights, spoilt_moments, torn, content)):
        path = folder / f"iter_{9 - age}{suffix}"
        write(held, str(path))
        if held is torn:
            path.write_bytes(path.read_bytes()[:-1])
        os.utime(path, (1e9 - age, 1e9 - age))


@pytest.mark.parametrize(("path", "offered"), [("optimizer/state/0/exp_avg", 5), ("state_dict/head.bias", 5)])
def test_the_newest_that_is_finite_and_whole_is_offered(tmp_path, path, offered):
    run = trained()
    write_some(tmp_path, run.content)
    run._load_from = str(tmp_path / "iter_9.pth")
    with pytest.raises(ValueError, match="not finite") as caught:
        StreamingCheckpointHook(by_epoch=False).after_load_checkpoint(run, spoilt(run.content, path, NAN))
    told = f"give another checkpoint, such as {tmp_path}/iter_{offered}.pth, the newest beside it that is finite"
    assert str(caught.value).endswith(told)
    assert newest_finite(tmp_path.glob("*.pth")) == str(tmp_path / "iter_8.pth")
    for path in tmp_path.glob("iter_[578].pth"):
        path.unlink()
    assert newest_finite(tmp_path.glob("*.pth")) == ""


def test_files_that_a_run_names_otherwise_are_offered_too(tmp_path):
    run = trained()
    write_some(tmp_path, run.content, ".pt")
    run._load_from = str(tmp_path / "iter_9.pt")
    with pytest.raises(ValueError, match=r"iter_5\.pt, the newest beside it that is finite"):
        StreamingCheckpointHook(by_epoch=False).after_load_checkpoint(run, spoilt(run.content, "state_dict/head.bias", NAN))
    assert f"the newest checkpoint that is finite is {tmp_path}/iter_8.pt" in _weights_before(run, str(tmp_path / "iter_6.pt"))


def test_only_a_whole_file_of_finite_weights_is_said_to_hold_those_before(tmp_path):
    run = trained()
    write_some(tmp_path, run.content)
    last = str(tmp_path / "iter_5.pth")
    assert _weights_before(run, last) == f"the weights before them are in {last}"
    run.model.head.bias.data[0] = NAN
    told = "the weights before them are not finite either (head.bias); the newest checkpoint that is finite is"
    assert _weights_before(run, str(tmp_path / "iter_9.pth")) == f"{told} {tmp_path}/iter_8.pth"
    run.model.head.bias.data[0] = 0.0
    told = f"{tmp_path}/iter_6.pth is not whole and finite; the newest checkpoint that is finite is {tmp_path}/iter_8.pth"
    assert _weights_before(run, str(tmp_path / "iter_6.pth")) == told
    for path in tmp_path.glob("iter_[578].pth"):
        path.unlink()
    assert _weights_before(run, str(tmp_path / "iter_9.pth")).endswith(f"and no checkpoint in {tmp_path} is finite")


def test_a_moment_that_is_missing_is_refused_by_name():
    run = trained()
    del run.content["optimizer"]["state"][2]["exp_avg_sq"]
    with pytest.raises(
        ValueError, match=r"1 keys do not fit:\n  optimizer\.state\.2\.exp_avg_sq: is missing\nrestore the settings"
    ):
        check_state(run, run.content)
    run = trained(kind=torch.optim.SGD)
    check_state(run, run.content)


def test_numbers_of_parameters_may_be_other_but_not_the_same():
    run = trained()
    state = run.content["optimizer"]
    state["param_groups"][0]["params"] = [5, 4, 3, 2, 1, 0]
    with pytest.raises(ValueError, match=r"\n  optimizer\.state\.0\.exp_avg: is a tensor \[3, 2\], wanted a tensor \[1\]"):
        check_state(run, run.content)
    state["state"] = {5 - index: held for index, held in state["state"].items()}
    check_state(run, run.content)
    warn_of_lost(run, run.content)
    assert run.said == []
    state["param_groups"][0]["params"] = [5, 4, 3, 2, 1, True]
    with pytest.raises(ValueError, match=r"1 keys do not fit:\n  optimizer\.param_groups: is without a parameter of its own for"):
        check_state(run, run.content)


def test_a_parameter_without_state_is_named_unless_its_part_was_frozen():
    run = trained()
    warn_of_lost(run, run.content)
    assert run.said == []
    del run.content["optimizer"]["state"][2]
    warn_of_lost(run, run.content)
    told = (
        "resume: the optimiser's state has nothing of what is trained as backbone.1.weight: no gradient reached it yet, or it was"
    )
    assert run.said == [f"{told} lost; its moments begin anew"]
    run = trained(frozen="backbone")
    run.model.requires_grad_(True)  # from here on
    warn_of_lost(run, run.content)
    assert run.said == []
    run.content["optimizer"]["state"] = {}
    warn_of_lost(run, run.content)
    assert "backbone.0.weight, backbone.0.bias, backbone.1.weight and 3 more: no gradient" in run.said[0]
    for kind, settings, warned in ((torch.optim.SGD, {}, 0), (torch.optim.SGD, {"momentum": 0.9}, 1)):
        run = trained(kind=kind, **settings)
        run.content["optimizer"]["state"] = {}
        warn_of_lost(run, run.content)
        assert len(run.said) == warned
