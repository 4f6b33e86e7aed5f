"""Steps that are not finite change nothing, are reported, and stop a hopeless run; what a loaded checkpoint fills is said."""

import copy
import json
import math
import time
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from mmengine.model import BaseModel, MMDistributedDataParallel
from mmengine.runner import Runner
from ranks import in_world
from torch import Tensor, nn

from finevit.config.loading import load_config
from finevit.engine.checkpoints import taken_over
from finevit.engine.hooks.nonfinite_hook import LIST, NonFiniteHook
from finevit.engine.optimizers import BFloat16OptimWrapper, GuardedOptimWrapper
from finevit.plugins import load_plugins

ROOT = Path(__file__).parents[1]
NAN, INF = math.nan, math.inf


class Squares(BaseModel):
    """Predicts the mean of a batch, counts the batches it has seen, and multiplies its loss by what the batch says."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 3)
        self.register_buffer("seen", torch.zeros(()))

    def forward(self, x: Tensor, factor: float = 1.0, mode: str = "loss") -> dict[str, Tensor]:
        self.seen += factor
        return {"loss": factor * (self.layer(x) - x.mean()).square().mean()}


def batches(count: int) -> list[dict]:
    generator = torch.Generator().manual_seed(0)
    return [{"x": torch.randn(5, 4, generator=generator)} for _ in range(count)]


def fresh(kind: type = GuardedOptimWrapper, **options) -> tuple[Squares, GuardedOptimWrapper]:
    torch.manual_seed(1)
    model = Squares()
    return model, kind(torch.optim.AdamW(model.parameters(), lr=0.1), **options)


def state(model: Squares, wrapper: GuardedOptimWrapper) -> dict[str, Tensor]:
    """All that a step may change."""
    moments = wrapper.state_dict()["state"]
    flat = {f"{index}.{name}": value for index, values in moments.items() for name, value in values.items()}
    return copy.deepcopy({**model.state_dict(), **flat})


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize("kind", [GuardedOptimWrapper, BFloat16OptimWrapper])
@pytest.mark.parametrize("clip_grad", [None, {"max_norm": 1.0}, {"type": "value", "clip_value": 0.1}])
@pytest.mark.parametrize("factor", [NAN, INF, -INF])
def test_a_skipped_step_changes_nothing_and_the_next_is_as_if_it_had_not_been(kind, clip_grad, factor):
    good = batches(4)
    (model, wrapper), (plain, without) = (fresh(kind, clip_grad=copy.copy(clip_grad)) for _ in range(2))
    for batch in good[:2]:
        model.train_step(batch, wrapper)
    before = state(model, wrapper)
    model.train_step({**good[2], "factor": factor}, wrapper)
    assert wrapper.skipped
    assert same(before, state(model, wrapper))
    model.train_step(good[3], wrapper)
    assert not wrapper.skipped
    for batch in (*good[:2], good[3]):
        plain.train_step(batch, without)
    assert same(state(model, wrapper), state(plain, without))


def test_a_gradient_that_is_not_finite_is_skipped_though_the_loss_is():
    parameter = nn.Parameter(torch.zeros(2))
    wrapper = GuardedOptimWrapper(torch.optim.SGD([parameter], lr=1.0))
    wrapper.update_params(parameter.sqrt().sum())  # the slope at zero is infinite
    assert wrapper.skipped
    assert parameter.tolist() == [0.0, 0.0]
    assert parameter.grad is None
    wrapper.update_params(parameter.sum())
    assert parameter.tolist() == [-1.0, -1.0]


@pytest.mark.parametrize("bad", [0, 1])
def test_an_accumulation_is_skipped_as_a_whole_and_its_end_does_not_move(bad):
    good = batches(4)
    (model, wrapper), (plain, without) = (fresh(accumulative_counts=2) for _ in range(2))
    before = state(model, wrapper)
    for index, batch in enumerate(good[:2]):
        model.train_step({**batch, "factor": NAN if index == bad else 1.0}, wrapper)
    assert wrapper.skipped
    assert same(before, state(model, wrapper))
    model.train_step(good[2], wrapper)
    assert torch.equal(before["layer.weight"], model.layer.weight)
    model.train_step(good[3], wrapper)
    for batch in good[2:]:
        plain.train_step(batch, without)
    assert same(state(model, wrapper), state(plain, without))


def test_ranks_agree(tmp_path):
    in_world(one_of_two, 2, tmp_path / "meeting")


def one_of_two(rank: int, world: int) -> None:
    """Rank 1 alone has a loss that is not finite, at steps 1 and 3; without its neighbour it would be out of step from then on."""
    inner, wrapper = fresh(accumulative_counts=1, clip_grad={"max_norm": 1.0})
    model = MMDistributedDataParallel(inner)
    for step, batch in enumerate(batches(5)):
        before = state(inner, wrapper)
        model.train_step({**batch, "factor": NAN if rank == 1 and step in (1, 3) else 1.0}, wrapper)
        assert wrapper.skipped == (step in (1, 3))
        assert same(before, state(inner, wrapper)) == wrapper.skipped
    weights = [torch.empty(3, 4), torch.empty(3, 4)]
    dist.all_gather(weights, inner.layer.weight.detach())
    assert torch.equal(*weights)


CONFIG = f"""
_base_ = ["{ROOT}/configs/_base_/runtime.py", "{ROOT}/configs/_base_/embedded_scenes.py"]
model = dict(
    type="MaskedDistillation",
    backbone=dict(type="FineViT", arch=dict(depth=1, dim=16, heads=1, mlp_dim=16)),
    teacher=dict(type="RandomFeatureTeacher", dim=8),
    head=dict(type="DistillationHead", target_norm="channel", visible_weight=0.5),
)
train_dataloader = dict(batch_size=2, num_workers=0, batch_sampler=dict(resolution=dict(side=56)))
val_dataloader = val_cfg = val_evaluator = None
optim_wrapper = dict(
    type="GuardedOptimWrapper", optimizer=dict(type="TimmMuon", lr=1e-3), clip_grad=dict(max_norm=1.0), accumulative_counts=1
)
param_scheduler = [dict(type="CosineAnnealingLR", by_epoch=False, eta_min=0.0)]
train_cfg = dict(type="StatelessTrainLoop", max_iters=8)
default_hooks = dict(logger=dict(interval=1), checkpoint=dict(interval=2, max_keep_ckpts=-1))
custom_hooks = [
    dict(type="NonFiniteHook", max_in_a_row=3),
    dict(type="ExactResumeHook"),
    dict(type="ScheduleHook", schedules={{"head.visible_weight": dict(type="Milestones", milestones=[(0, 0.5)])}}),
]
visualizer = dict(vis_backends=[dict(type="LocalVisBackend")])
"""


def run(tmp_path: Path, name: str, milestones: list, **options) -> Path:
    """Trains in this process; the loss of some steps is infinite, because a schedule makes its weight so."""
    (tmp_path / "small.py").write_text(CONFIG)
    load_plugins()
    changes = {"custom_hooks.2.schedules": {"head.visible_weight": {"type": "Milestones", "milestones": milestones}}}
    cfg = load_config(tmp_path / "small.py", {**changes, **{key.replace("__", "."): value for key, value in options.items()}})
    cfg.work_dir, cfg.experiment_name = str(tmp_path / name), f"{tmp_path.name}_{name}_{time.monotonic_ns()}"
    Runner.from_cfg(cfg).train()
    return tmp_path / name


def logged(work_dir: Path) -> list[dict]:
    return [json.loads(line) for file in sorted(work_dir.glob("*/vis_data/scalars.json")) for line in file.read_text().splitlines()]


def test_a_run_skips_reports_and_resumes_exactly(tmp_path):
    milestones = [(0, 0.5), (2, INF), (3, 0.5), (5, INF), (6, 0.5)]
    whole = run(tmp_path, "whole", milestones)
    lines = (whole / LIST).read_text().splitlines()
    assert [line.partition(":")[0] for line in lines] == ["step 3 skipped", "step 6 skipped"]
    assert "loss is inf, loss_visible is inf; samples: " in lines[0]
    assert lines[0].count("scenes") == 2 or len(lines[0].rpartition("samples: ")[2].split(", ")) == 2
    assert len(logged(whole)) == 8
    assert all(math.isfinite(line["loss"]) for line in logged(whole))
    assert [line.get("skipped_steps") for line in logged(whole)] == [None, None, 1, 1, 1, 2, 2, 2]
    log = next(whole.glob("*/*.log")).read_text()
    assert "step 3 skipped: loss is inf, loss_visible is inf; 1 in a row, 1 in all; samples: " in log
    resumed = run(tmp_path, "resumed", milestones, load_from=str(whole / "iter_4.pth"), resume=True)
    assert (resumed / LIST).read_text().splitlines() == lines[1:]
    one, other = (torch.load(folder / "iter_8.pth", weights_only=False) for folder in (whole, resumed))
    assert same(one["state_dict"], other["state_dict"])
    assert str(one["optimizer"]) == str(other["optimizer"])
    before, after = (torch.load(whole / f"iter_{step}.pth", weights_only=False)["state_dict"] for step in (4, 6))
    assert not same(before, after)


def test_too_many_in_a_row_stop_the_run_with_a_checkpoint(tmp_path):
    milestones = [(0, 0.5), (1, INF), (4, 0.5)]
    with pytest.raises(ValueError, match="3 steps in a row were not finite") as caught:
        run(tmp_path, "bad", milestones, default_hooks__checkpoint__interval=100)
    work_dir = tmp_path / "bad"
    for said in (str(work_dir / "iter_4.pth"), str(work_dir / LIST), "Samples: ", "optim_wrapper.optimizer.lr", "clip_grad"):
        assert said in str(caught.value)
    assert len((work_dir / LIST).read_text().splitlines()) == 3
    assert (work_dir / "last_checkpoint").read_text() == str(work_dir / "iter_4.pth")
    checkpoint = torch.load(work_dir / "iter_4.pth", weights_only=False)
    assert checkpoint["meta"]["iter"] == 4
    assert all(value.isfinite().all() for value in checkpoint["state_dict"].values())
    assert checkpoint["param_schedulers"][0]["last_step"] == 4
    goes_on = run(tmp_path, "on", milestones, load_from=str(work_dir / "iter_4.pth"), resume=True)
    assert (goes_on / "iter_8.pth").exists()


def test_settings():
    for value in (0, True, 2.0):
        with pytest.raises(ValueError, match=rf"NonFiniteHook\.max_in_a_row={value}"):
            NonFiniteHook(max_in_a_row=value)


def tensors(**shapes: tuple[int, ...]) -> dict[str, Tensor]:
    return {name.replace("__", "."): torch.zeros(shape) for name, shape in shapes.items()}


STAGE_1 = tensors(mask_token=(8,), backbone__a=(8, 3), backbone__b=(8,), head__predict=(8, 5))
STAGE_2 = tensors(backbone__a=(8, 3), backbone__b=(8,), text_encoder__a=(7, 7), head__image=(8, 8))


def test_what_a_checkpoint_fills_is_said():
    assert taken_over(STAGE_2, STAGE_1, setting="load_from") == "taken over: backbone; start new: text_encoder, head"
    assert taken_over(STAGE_1, STAGE_1, setting="resume") == "taken over: mask_token, backbone, head"
    wider = {**STAGE_1, **tensors(head__predict=(8, 6), head__bias=(6,))}
    narrower = {**STAGE_1, **tensors(head__predict=(8, 5), head__bias=(6,))}
    said = taken_over(wider, narrower, setting="load_from")
    assert said == "taken over: mask_token, backbone; taken over in part, the rest starts new: head"


FULL = tensors(backbone__a=(8,), llm__norm=(4,), llm__q__weight=(4, 4))
LORA = tensors(
    backbone__a=(8,),
    llm__norm=(4,),
    llm__q__base_layer__weight=(4, 4),
    llm__q__lora_A__weight=(2, 4),
    llm__q__lora_B__weight=(4, 2),
)
DEEPER = {**FULL, **tensors(llm__more=(4,))}


@pytest.mark.parametrize(("model", "weights"), [(FULL, LORA), (LORA, FULL), (FULL, DEEPER), (DEEPER, FULL)])
def test_a_language_model_is_taken_over_whole_or_not_at_all(model, weights):
    with pytest.raises(ValueError, match=r"(?s)^load_from: the checkpoint fills llm in part alone: .*:\n  llm.*set model.llm with"):
        taken_over(model, weights, setting="load_from")
    assert taken_over(model, model, setting="load_from") == "taken over: backbone, llm"
    assert taken_over(model, tensors(backbone__a=(8,)), setting="load_from") == "taken over: backbone; start new: llm"


@pytest.mark.parametrize(
    ("weights", "setting", "message"),
    [
        (
            tensors(backbone__a=(9, 3), backbone__b=(8,)),
            "load_from",
            r"1 keys do not fit:\n  backbone.a: is \[9, 3\], wanted \[8, 3\]",
        ),
        (tensors(backbone__a=(8, 3)), "load_from", "backbone.b: missing"),
        ({**STAGE_2, **tensors(backbone__c=(2,))}, "load_from", "backbone.c: unexpected"),
        (tensors(a=(8, 3), b=(8,)), "load_from", "2 keys do not fit:\n  backbone.a: missing"),
        (STAGE_1, "resume", "4 keys do not fit:\n  text_encoder.a: missing"),
    ],
)
def test_a_checkpoint_of_another_model_is_refused(weights, setting, message):
    remedy = {"load_from": "load another checkpoint", "resume": "restore the model's settings, or start a new run"}[setting]
    with pytest.raises(ValueError, match=f"(?s)^{setting}: the checkpoint is of another model.*{message}.*\n.*{remedy}"):
        taken_over(STAGE_2, weights, setting=setting)
