"""The plan of a run: what it predicts against what the loader yields, what a step costs by hand, and what a real run then does."""

import json
import sys
from collections.abc import Callable
from dataclasses import replace
from itertools import count
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.model import BaseModel
from mmengine.registry import DefaultScope
from mmengine.runner import Runner
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention
from torch.utils.data import DataLoader

from finevit.commands import plan as plan_command
from finevit.config.loading import load_config
from finevit.curriculum.schedules import Linear, Milestones
from finevit.engine.hooks.plan_hook import PlanHook, compare, summary
from finevit.planning import planner, step_cost
from finevit.planning.flops import step_flops
from finevit.planning.memory import GIB
from finevit.planning.plan import Plan, Point, device_name, key_of
from finevit.planning.planner import make_plan, sample, typical
from finevit.planning.scheduled import knots
from finevit.planning.step_cost import Measured, fit, same_parts
from finevit.plugins import load_plugins
from finevit.visualization.plan import duration, page, rows, scheduled_charts, short, text
from finevit.visualization.report import render

ROOT = Path(__file__).parents[1]
COMMON = """
optim_wrapper = dict(type="OptimWrapper", optimizer=dict(type="AdamW", lr=1e-3))
param_scheduler = [
    dict(type="LinearLR", start_factor=0.25, by_epoch=False, begin=0, end=3),
    dict(type="CosineAnnealingLR", by_epoch=False, eta_min=0.0),
]
train_cfg = dict(type="StatelessTrainLoop", max_iters=12)
val_dataloader = None
default_hooks = dict(logger=dict(interval=1), checkpoint=dict(interval=5))
visualizer = dict(vis_backends=[dict(type="LocalVisBackend")])
"""
STAGE2 = f"""
_base_ = ["{ROOT}/configs/_base_/runtime.py", "{ROOT}/configs/_base_/embedded_captions.py"]
model = dict(
    type="ContrastiveLearning",
    backbone=dict(type="FineViT", arch=dict(depth=2, dim=32, heads=2, mlp_dim=64)),
    text_encoder=dict(type="TextTransformer", tokenizer="scenes", depth=2, dim=32, heads=2, context=64),
    head=dict(type="SigmoidHead", embed_dim=16),
)
train_dataloader = dict(
    batch_size=8,
    num_workers=0,
    persistent_workers=False,
    batch_sampler=dict(
        resolution=dict(_delete_=True, type="StepResolution", milestones=[(0.0, 84), (0.5, 112)]),
        schedules=dict(
            Tokenize=dict(max_seq_len=dict(type="Milestones", milestones=[(0.0, 16), (0.5, 32)])),
            DropPatches=dict(ratio=dict(type="Milestones", milestones=[(0.0, 0.0), (0.75, 0.5)])),
        ),
    ),
)
custom_hooks = [
    dict(type="PlanHook"),
    dict(type="ScheduleHook", schedules=dict(text_frozen=dict(type="Milestones", milestones=[(0.0, True), (0.25, False)]))),
]
{COMMON}"""
STAGE1 = f"""
_base_ = ["{ROOT}/configs/_base_/runtime.py", "{ROOT}/configs/_base_/embedded_scenes.py"]
model = dict(
    type="MaskedDistillation",
    backbone=dict(type="FineViT", arch=dict(depth=1, dim=32, heads=2, mlp_dim=64)),
    teacher=dict(type="RandomFeatureTeacher", dim=16),
    head=dict(type="DistillationHead"),
)
train_dataloader = dict(
    batch_size=4, num_workers=0, persistent_workers=False, batch_sampler=dict(resolution=dict(side=112))
)
custom_hooks = [
    dict(type="ScheduleHook", schedules=dict(mask_ratio=dict(type="Linear", begin_value=0.5, end_value=0.75, end=1.0))),
]
{COMMON}"""

_numbers = count()
Load = Callable[..., Config]


def loader_of(cfg: Config) -> DataLoader:
    """The training loader as the Runner builds it."""
    with DefaultScope.overwrite_default_scope("finevit"):
        return Runner.build_dataloader(cfg.train_dataloader, seed=0)


def name() -> str:
    """A line that names an experiment; MMEngine warns where two of a process have the same name and second."""
    return f'experiment_name = "plan{next(_numbers)}"\n'


def quiet(line: str) -> None:
    """No progress."""


@pytest.fixture(scope="module")
def load(tmp_path_factory) -> Load:
    """A config from its text, with overrides."""
    load_plugins()
    folder = tmp_path_factory.mktemp("configs")

    def loaded(source: str, work_dir: Path | None = None, **options: object) -> Config:
        path = folder / "small.py"
        path.write_text(source + name())
        cfg = load_config(path, {key.replace("__", "."): value for key, value in options.items()})
        cfg.work_dir = str(work_dir or folder / "unused")
        return cfg

    return loaded


@pytest.fixture
def few_records(monkeypatch) -> None:
    """Plans look at 16 records of a step: where no figure has to be near that of a run."""
    monkeypatch.setattr(planner, "RECORDS", 16)


@pytest.fixture(scope="module")
def plan(load) -> Plan:
    return make_plan(load(STAGE2), name="small.py", progress=quiet)


@pytest.fixture(scope="module")
def run(load, plan, tmp_path_factory) -> SimpleNamespace:
    """A run in a work dir that holds its plan: ``folder``, ``check``, the loop's ``batches`` as (patches, tokens), ``log``."""
    folder = tmp_path_factory.mktemp("run")
    plan.save(folder)
    runner = Runner.from_cfg(load(STAGE2, folder))
    runner.train()
    check = json.loads((folder / "plan_check.json").read_text())
    return SimpleNamespace(folder=folder, check=check, log=next(folder.glob("*/*.log")).read_text())


def made(**changes: object) -> Plan:
    """A plan of 10 steps that jumps at step 5, by hand."""
    costs = {0: (100.0, 10.0), 4: (100.0, 10.0), 5: (200.0, 30.0), 9: (240.0, 50.0)}
    points = tuple(
        Point(step, {"resolution": 84.0 if step < 5 else 112.0, "text_frozen": step < 5}, 1e-3, patches, tokens, 1e9, 0.5, 3 * GIB)
        for step, (patches, tokens) in costs.items()
    )
    values = Plan("small.py", "abc", "CPU, 1 threads", "2030-01-01T00:00:00", 10, 8, points, {"parameters": GIB}, ({"step": 0},))
    return replace(values, **changes)


def hook_runner(cfg: Config, folder: Path, said: list[str]) -> SimpleNamespace:
    logger = SimpleNamespace(warning=said.append, info=said.append)
    return SimpleNamespace(cfg=cfg, work_dir=folder, logger=logger, model=nn.Linear(1, 1), iter=0)


# --- predictions ---


@pytest.mark.parametrize("step", [0, 6, 9])
def test_patches_and_tokens_are_those_of_the_loaders_batch(load, step):
    """Exactly, where a batch has as many records as the plan looks at."""
    loader = loader_of(load(STAGE2, train_dataloader__batch_size=64))
    found = sample(loader, step)
    loader.batch_sampler.start_step = step
    batch = next(iter(loader))
    assert (64 * found.patches, 64 * found.tokens) == (sum(batch["images"].seqlens), sum(batch["texts"].seqlens))
    assert found.seconds > 0


def test_a_small_batch_is_filled_up_with_records_of_the_same_step(load):
    """64 records of batches of 8: those of step 5 and the 7 that follow, all as step 5 would load them (84 pixels, 16 tokens)."""
    loader = loader_of(load(STAGE2))
    found = sample(loader, 5)
    batches = loader.batch_sampler
    later = [request for step in range(5, 13) for request in batches.requests(step)]
    expected = [loader.dataset[batches.requests(5)[0]._replace(record=each.record, position=each.position)] for each in later]
    assert len(found.samples) == 64
    assert [each["id"] for each in found.samples] == [each["id"] for each in expected]
    assert max(len(each["patches"]) for each in found.samples) <= (84 // 14) ** 2
    assert max(len(each["tokens"]) for each in found.samples) <= 16


def test_typical_images_and_texts_are_quantiles():
    samples = [{"patches": [0] * size, "tokens": [0] * (9 - size)} for size in (3, 1, 4, 2, 8, 6, 5, 7)]
    found = typical(samples, 4)
    assert [len(each["patches"]) for each in found] == [2, 4, 6, 8]
    assert [len(each["tokens"]) for each in found] == [2, 4, 6, 8]
    assert [len(each["patches"]) for each in typical([{"patches": [0] * size} for size in (5, 1, 3)], 1)] == [3]


def test_points_follow_the_schedules_together(plan):
    """Values at the jumps of all four schedules; costs move with them."""
    at = {point.step: point for point in plan.points}
    assert {0, 2, 3, 5, 6, 8, 9, 11} <= at.keys()
    names = ("resolution", "Tokenize.max_seq_len", "DropPatches.ratio", "text_frozen")
    assert [tuple(at[step].values[name] for name in names) for step in (2, 3, 5, 6, 8, 9)] == [
        (84, 16, 0, True),
        (84, 16, 0, False),
        (84, 16, 0, False),
        (112, 32, 0, False),
        (112, 32, 0, False),
        (112, 32, 0.5, False),
    ]
    assert at[2].flops < at[3].flops == at[5].flops < at[6].flops == at[8].flops
    assert (at[2].patches, at[2].tokens) == pytest.approx((at[3].patches, at[3].tokens), rel=0.03)
    assert at[9].patches == pytest.approx(at[8].patches / 2, rel=0.05)
    assert at[9].tokens == pytest.approx(at[8].tokens, rel=0.05)
    assert all(point.seconds > 0 and point.memory > sum(plan.parts.values()) for point in plan.points)


def test_parts_are_exact_and_the_real_steps_are_told(load, plan):
    """AdamW: two moments and a step count for each parameter."""
    parameters = list(Runner.from_cfg(load(STAGE2)).model.parameters())
    size = 4 * sum(p.numel() for p in parameters)
    assert plan.parts == {"parameters": size, "gradients": size, "optimiser states": 2 * size + 4 * len(parameters)}
    assert [(each["step"], each["images"]) for each in plan.calibration][-1][1] == 8
    assert plan.calibration[0]["images"] == 1
    assert not any("EXTRAPOLATED" in note for note in plan.notes)


@pytest.mark.slow
@pytest.mark.usefixtures("few_records")
def test_an_accumulation_has_its_optimiser_states_too(load, plan):
    found = make_plan(load(STAGE2, optim_wrapper__accumulative_counts=1000), name="", progress=quiet)
    assert found.parts == plan.parts


@pytest.mark.usefixtures("few_records")
def test_what_is_not_tried_is_extrapolated_and_said_so(load, monkeypatch):
    """A device so slow that a step of one image is all there is time for."""
    monkeypatch.setattr(step_cost, "LONGEST", 1e-6)
    found = make_plan(load(STAGE2), name="", progress=quiet)
    assert [each["images"] for each in found.calibration] == [1, 1]
    assert found.notes[-1] == "EXTRAPOLATED: time and memory, from steps of at most 1 of 8 images."
    assert found.points[-1].flops > 4 * max(each["flops"] for each in found.calibration)


@pytest.mark.usefixtures("few_records")
def test_one_step(load):
    found = make_plan(load(STAGE2, train_cfg__max_iters=1), name="", progress=quiet)
    (point,) = found.points
    assert (point.step, point.values["resolution"], point.values["Tokenize.max_seq_len"]) == (0, 112, 32)
    assert found.totals["images"] == 8
    assert found.totals["flops"] == point.flops
    assert "1 steps of 8 images" in text(found)
    assert "<polyline" in render(page(found, "")) or "<path" in render(page(found, ""))


@pytest.mark.usefixtures("few_records")
def test_a_stage_without_text(load):
    """Tokens are none and are not shown; the mask ratio, which moves at every step, is."""
    found = make_plan(load(STAGE1), name="", progress=quiet)
    assert found.totals["tokens"] == 0
    header, *table = rows(found)
    assert "tokens" not in header
    assert "Tokenize.max_seq_len" not in header
    assert (table[0][header.index("mask_ratio")], len(table)) == ("0.5", len(found.points))
    assert found.at("patches", 3) == pytest.approx(4 * 64, rel=0.1)
    assert "text tokens" not in text(found)


# --- FLOPs ---


class Attending(BaseModel):
    """A linear layer and attention of one head over all rows."""

    def __init__(self, *, looks: bool = False) -> None:
        super().__init__()
        self.layer, self.looks = nn.Linear(6, 4), looks

    def forward(self, x: Tensor, mode: str = "loss") -> dict[str, Tensor]:
        rows = self.layer(x)[None, None]
        if self.looks and rows.sum().item() > 1e9:
            raise AssertionError
        return {"loss": scaled_dot_product_attention(rows, rows, rows).mean()}


@pytest.mark.parametrize("looks", [False, True])
def test_flops_by_hand(looks):
    """Linear 2 * 5 * 6 * 4, twice (no gradient of the input); attention 2 products forward, each with two backward.

    A kernel that computes the products of queries and keys a second time, on the way back, has one more.
    """
    product = 2 * 5 * 5 * 4
    found = step_flops(Attending(looks=looks), {"x": torch.randn(5, 6)})
    assert found == 2 * (2 * 5 * 6 * 4) + (7 if looks else 6) * product


def test_a_model_without_storage_is_counted_as_it_is_and_left_alone(load):
    """Micro-batches run the forward pass twice, a frozen tower has no backward pass; weights and gradients stay what they were."""
    model = Runner.from_cfg(load(STAGE2)).model
    loader = loader_of(load(STAGE2))
    batch = next(iter(loader))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    whole = step_flops(model, batch)
    model.text_frozen = True
    frozen = step_flops(model, batch)
    model.text_frozen, model.micro_batch = False, 4
    twice = step_flops(model, batch)
    pixels = 2 * sum(batch["images"].seqlens) * 3 * 14 * 14 * 32  # of the pixels there is no gradient
    assert whole == pytest.approx(3 * (twice - whole) - pixels, rel=1e-3)
    assert 0.4 * whole < frozen < 0.95 * whole
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(p.grad is None and p.device.type == "cpu" for p in model.parameters())


# --- parts of the arithmetic ---


def test_knots_of_jumps_ramps_and_short_runs():
    grid = {1000 * part // 8 for part in range(9)}
    assert set(knots([Milestones(milestones=[(0, 1), (300, 2)])], 1001)) == grid | {299, 300}
    assert set(knots([Linear(begin_value=0, end_value=1, begin=100, end=301)], 1001)) == grid | {100, 200, 301}
    assert set(knots([lambda step: 5], 1001)) == grid
    both = [Milestones(milestones=[(0, False), (7, True)]), Linear(begin_value=0, end_value=1, end=600)]
    assert set(knots(both, 1001)) == grid | {6, 7, 0, 300, 600}
    assert knots([Linear(begin_value=0, end_value=1, end=3)], 1) == [0]
    assert knots([], 3) == [0, 1, 2]


def test_lines_through_what_was_measured():
    assert fit([1.0, 10.0], [3.0, 21.0]) == pytest.approx((1, 2))
    assert fit([1.0, 10.0], [3.0, 21.0], base=False) == pytest.approx((0, 213 / 101))
    assert fit([1.0, 10.0], [1.0, 30.0]) == pytest.approx((0, 301 / 101)), "no step costs less than nothing"
    assert fit([2.0, 3.0], [4.0, 5.0]) == pytest.approx((0, 23 / 13)), "too close together to tell what is left at none"
    assert fit([2.0], [5.0])(4.0) == 10


def test_fewer_images_are_cut_into_as_many_parts():
    model = SimpleNamespace(micro_batch=16)
    with same_parts(model, 12, 48):
        assert model.micro_batch == 4
    assert model.micro_batch == 16
    with pytest.raises(ZeroDivisionError), same_parts(model, 1, 48):
        model.micro_batch / 0
    assert model.micro_batch == 16


@pytest.mark.parametrize(
    ("seconds", "memory", "dearer", "images"), [(1, 1, 1, 8), (1, 1, 2, 4), (4, 1, 1, 4), (1, 4, 1, 5), (1, 90, 1, 0)]
)
def test_how_many_images_to_try_next(monkeypatch, seconds, memory, dearer, images):
    """At most four times as many, 8 seconds, and half of the 20 bytes that are free."""
    monkeypatch.setattr(step_cost, "free", lambda device: 20)
    tries = step_cost._Tries(nn.Linear(1, 1), None, 1000, quiet, quiet)
    tries.resting = 100
    assert tries.affordable(Measured(0, 2, 1.0, seconds, 100 + memory), dearer) == images


def test_a_plan_is_a_line_between_its_points():
    plan = made()
    assert plan.at("patches", [0, 3, 4, 5, 7, 9]).tolist() == [100, 100, 100, 200, 220, 240]
    assert plan.totals == {"images": 80, "patches": 500 + 1100, "tokens": 50 + 200, "flops": 1e10, "seconds": 5, "memory": 3 * GIB}


def test_a_plan_comes_back_from_its_file(plan, tmp_path):
    assert Plan.load(tmp_path) is None
    assert json.loads(plan.save(tmp_path / "new").read_text())["totals"] == pytest.approx(plan.totals)
    assert Plan.load(tmp_path / "new") == plan
    (tmp_path / "plan.json").write_text('{"points": []')
    assert Plan.load(tmp_path) is None


def test_the_key_is_of_what_costs(load):
    key = key_of(load(STAGE2))
    assert key == key_of(load(STAGE2, load_from="weights.pth", default_hooks__logger__interval=7))
    changes = [{"train_dataloader__batch_size": 9}, {"train_cfg__max_iters": 13}, {"model__micro_batch": 2}]
    others = {key_of(load(STAGE2, **change)) for change in changes} | {key_of(load(STAGE2.replace("0.25, False", "0.5, False")))}
    assert len(others - {key}) == 4


# --- a run beside its plan ---


def test_a_run_is_compared_with_its_plan(run, plan):
    """Patches and tokens to a few per cent of what 12 steps of 8 images saw; seconds of steps after the first two."""
    assert run.check["steps"] == 12
    for name in ("patches", "tokens"):
        assert abs(run.check[name]["off"]) < 0.05, run.check[name]
        assert run.check[name]["predicted"] == pytest.approx(plan.totals[name] / 12)
    assert 0 < run.check["seconds"]["seen"] < 5
    assert run.check["memory"]["seen"] > sum(plan.parts.values())
    for said in ("plan: patches a step", "text tokens a step", "seconds a step", "memory", "predicted", "seen"):
        assert said in run.log


def test_learning_rates_are_those_of_the_run(run, plan):
    lines = [json.loads(line) for file in run.folder.glob("*/vis_data/scalars.json") for line in file.read_text().splitlines()]
    seen = {line["step"] - 1: line["lr"] for line in lines if "lr" in line}
    assert len(seen) == 12
    assert {point.step: pytest.approx(point.lr, rel=1e-9) for point in plan.points} == {p.step: seen[p.step] for p in plan.points}


def test_a_plan_of_other_settings_is_not_compared(load, tmp_path):
    made().save(tmp_path)
    said: list[str] = []
    hook, runner = PlanHook(), hook_runner(load(STAGE2), tmp_path, said)
    hook.before_train(runner)
    assert "of other settings, and is not compared" in said[0]
    step(hook, runner)
    hook.after_train(runner)
    assert not (tmp_path / "plan_check.json").exists()


@pytest.mark.parametrize("same", [True, False])
def test_of_a_plan_of_another_device_only_the_data_is_compared(load, tmp_path, same):
    cfg = load(STAGE2)
    device = device_name(torch.device("cpu")) if same else "Abacus"
    made(key=key_of(cfg), device=device).save(tmp_path)
    said: list[str] = []
    hook, runner = PlanHook(), hook_runner(cfg, tmp_path, said)
    hook.before_train(runner)
    for runner.iter in range(5):
        step(hook, runner)
    hook.after_train(runner)
    check = json.loads((tmp_path / "plan_check.json").read_text())
    assert list(check) == ["steps", "patches", "tokens", *(["seconds", "memory"] if same else [])]
    assert check["patches"] == {"predicted": 100, "seen": 110, "off": pytest.approx(0.1)}
    assert any("made on Abacus" in line for line in said) is not same


def test_seconds_are_of_steps_alone(load, tmp_path):
    """Not the first two, not one after an evaluation or a checkpoint."""
    cfg = load(STAGE2)
    made(key=key_of(cfg)).save(tmp_path)
    hook, runner = PlanHook(), hook_runner(cfg, tmp_path, [])
    hook.before_train(runner)
    between = {3: hook.after_val_epoch, 5: lambda runner: hook.before_save_checkpoint(runner, {})}
    for runner.iter in range(8):
        between.get(runner.iter, lambda runner: None)(runner)
        step(hook, runner)
    assert [not np.isnan(value) for value in hook.seen["seconds"]] == [False, False, True, False, True, False, True, True]


def step(hook: PlanHook, runner: SimpleNamespace) -> None:
    hook.before_train_iter(runner, 0)
    batch = {"images": SimpleNamespace(seqlens=(60, 50)), "texts": SimpleNamespace(seqlens=(7, 4))}
    hook.after_train_iter(runner, 0, batch)


def test_compare_by_hand():
    nan = float("nan")
    seen = {"patches": [110, 90, 220, 330], "tokens": [0, 0, 0, 0], "seconds": [nan, nan, 1.0, 2.0], "memory": [GIB, 6 * GIB, 0, 0]}
    found = compare(made(), [3, 4, 5, 9], seen)
    assert found == {
        "patches": {"predicted": 160, "seen": 187.5, "off": pytest.approx(0.171875)},
        "seconds": {"predicted": 0.5, "seen": 1.5, "off": pytest.approx(2)},
        "memory": {"predicted": 3 * GIB, "seen": 6 * GIB, "off": pytest.approx(1)},
    }
    assert summary(found) == (
        "plan: patches a step 160 predicted, 188 seen (+17.2 %); seconds a step 0.500 predicted, 1.500 seen (+200.0 %); "
        "memory 3.00 GiB predicted, 6.00 GiB seen (+100.0 %)"
    )


# --- what people see ---


def test_the_table(plan):
    """A row for each state of the schedules, none for the mere end of a plateau, with the numbers of its point."""
    header, *table = rows(made())
    assert header == ["step", "resolution", "text_frozen", "lr", "patches", "tokens", "FLOPs", "seconds", "images/s", "GiB"]
    assert table == [
        ["0", "84", "yes", "1.00e-03", "100", "10", "1.00 G", "0.500", "16.0", "3.00"],
        ["5", "112", "no", "1.00e-03", "200", "30", "1.00 G", "0.500", "16.0", "3.00"],
        ["9", "112", "no", "1.00e-03", "240", "50", "1.00 G", "0.500", "16.0", "3.00"],
    ]
    printed = text(made(notes=("a note",)))
    for said in (
        "small.py: 10 steps of 8 images",
        "images seen: 80",
        "patches: 1.60 k",
        "text tokens: 250",
        "FLOPs: 10.0 G",
        "time: 5.0 s on CPU, 1 threads; started now, it ends 2030-01-01 00:00",
        "memory: 3.00 GiB at the peak, of which parameters 1.00",
        "a note",
    ):
        assert said in printed.splitlines()
    moving = tuple(replace(point, step=index, values={"x": index}) for index, point in enumerate(plan.points[:4]))
    assert [row[0] for row in rows(made(points=moving))[1:]] == ["0", "1", "2", "3"]


def test_numbers_for_people():
    assert [short(n) for n in (0, 999, 1234, 1.2e7, 9.99e17, 3e21)] == ["0", "999", "1.23 k", "12.0 M", "999 P", "3,000 E"]
    assert [duration(s) for s in (59, 60, 3600, 86400, 200000)] == ["59.0 s", "1.0 min", "1.0 h", "24.0 h", "2.3 days"]


def test_the_page(plan):
    """Everything that moves has a curve of its own, and what stays has none."""
    html = render(page(plan, "model = 1"))
    for title in (
        "Learning rate",
        "Resolution (side of a square)",
        "Tokenize.max_seq_len",
        "DropPatches.ratio",
        "text_frozen",
        "Patches a step",
        "Text tokens a step",
        "FLOPs a step",
        "Seconds a step",
        "Peak memory, GiB",
        "FLOPs so far",
    ):
        assert f"<h3>{title}</h3>" in html
    assert html.count("<svg") == 11
    still = tuple(replace(point, values={**point.values, "Tokenize.max_seq_len": 16}) for point in plan.points)
    assert "<h3>Tokenize.max_seq_len</h3>" not in render(page(replace(plan, points=still), ""))
    assert all(f"{row[0]}</td>" in html for row in rows(plan)[1:])


# --- the command ---


@pytest.fixture
def command(load, tmp_path, monkeypatch) -> Callable[..., Path]:
    """``finevit plan`` in this process; gives the work dir."""
    (tmp_path / "small.py").write_text(STAGE2 + name())

    def called(*options: str) -> Path:
        work_dir = tmp_path / "work"
        arguments = [str(tmp_path / "small.py"), "--work-dir", str(work_dir)]
        monkeypatch.setattr(sys, "argv", ["finevit plan", *arguments, *(["--cfg-options", *options] if options else [])])
        plan_command.main()
        return work_dir

    return called


@pytest.mark.usefixtures("few_records")
def test_the_command_prints_and_trains_nothing(command, capsys):
    work_dir = command()
    assert sorted(path.name for path in work_dir.iterdir()) == ["plan.html", "plan.json"]
    out, progress = capsys.readouterr()
    assert header_of(out) == [
        "step",
        "resolution",
        "Tokenize.max_seq_len",
        "DropPatches.ratio",
        "text_frozen",
        "lr",
        "patches",
        "tokens",
    ]
    assert f"plan: {work_dir / 'plan.json'} and {work_dir / 'plan.html'}" in out
    assert "planning: a real step of 8 images" in progress
    assert Plan.load(work_dir).steps == 12
    assert "<h3>Tokenize.max_seq_len</h3>" in (work_dir / "plan.html").read_text()


def header_of(out: str) -> list[str]:
    return next(line.split()[:8] for line in out.splitlines() if line.split()[:1] == ["step"])


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("train_dataloader.batch_size=0", "train_dataloader.batch_size=0"),
        ("train_dataloader.batch_sampler.schedules.DropPatches.ratio.milestones=[(0,1.5)]", "DropPatches.ratio is 1.5 at step 0"),
        ("custom_hooks.1.schedules.text_frozen.type=Linaer", "Linaer"),
        ("load_from=nothing.pth", "nothing.pth"),
    ],
)
def test_bad_settings_are_reported_as_by_training(command, capsys, option, message):
    with pytest.raises(SystemExit) as stopped:
        command(option)
    assert stopped.value.code == 2
    error = capsys.readouterr().err
    assert error.splitlines()[-1].startswith("error: ") or "error: " in error
    assert message in error
    assert "Traceback" not in error


def test_a_schedule_of_nothing_is_refused(load):
    with pytest.raises(ValueError, match=r"'text_frosen' is no setting of ContrastiveLearning"):
        make_plan(load(STAGE2.replace("text_frozen=", "text_frosen=")), name="", progress=quiet)


def test_a_plan_counts_the_tokens_of_dialogues():
    from finevit.planning.planner import typical

    samples = [{"patches": range(4 * n), "dialogue": (range(10 * n), range(10 * n))} for n in (1, 2, 3, 4)]
    assert [len(each["dialogue"][0]) for each in typical(samples, 2)] == [20, 40]


@pytest.mark.slow
@pytest.mark.usefixtures("few_records")
def test_stage_three_can_be_planned(tmp_path):
    from finevit.config.loading import load_config
    from finevit.planning.planner import make_plan
    from finevit.plugins import load_plugins

    load_plugins()
    transforms = load_config("configs/finevit_tiny_stage3.py").train_dataloader.dataset.transforms
    first = {"box2ocr": 1.0, "box2text": 0.05}
    asked = {"global_caption": 0.02, "box2text": 0.5, "text2box": 4.0, "box2ocr": 2.0, "ocr2box": 0.5, "counting": 0.6}
    options = {
        "model.llm.config.num_hidden_layers": 1,
        "train_cfg.max_iters": 10,
        "train_dataloader.batch_size": 2,
        "train_dataloader.num_workers": 0,
        "train_dataloader.batch_sampler.resolution.side": 56,
        "train_dataloader.dataset.transforms": [
            {"type": "CropToRegion", "kinds": ["text_line"], "margin": (0.1, 0.6)},
            *transforms,
        ],
        "train_dataloader.batch_sampler.schedules.CropToRegion.probability": {
            "type": "Milestones",
            "milestones": [(0.0, 0.0), (0.4, 1.0), (0.6, 0.1)],
        },
        "train_dataloader.batch_sampler.schedules.AskQuestions.task_weights": {
            task: {"type": "Milestones", "milestones": [(0.0, weight), (0.4, first.get(task, 0.0)), (0.6, weight)]}
            for task, weight in asked.items()
        },
        "work_dir": str(tmp_path),
        "experiment_name": "plan_of_stage_three",
    }
    plan = make_plan(load_config("configs/finevit_tiny_stage3.py", options), name="x", progress=lambda line: None)
    first, last = plan.points[0], plan.points[-1]
    assert last.patches == pytest.approx(2 * 15, rel=0.5)  # 56^2 pixels are 16 patches
    assert last.tokens == pytest.approx(2 * 63, rel=0.2)  # of 512 at most
    assert last.flops > 6 * last.tokens * 0.8e6  # a block of width 256 and the output, forward and backward
    reading = next(point for point in plan.points if point.values["CropToRegion.probability"] == 1.0)
    assert [point.values["backbone_frozen"] for point in (first, last)] == [True, False]
    assert reading.values["AskQuestions.task_weights.box2ocr"] == pytest.approx(1 / 1.05)  # before it looks far
    assert (last.values["CropToRegion.probability"], last.values["AskQuestions.task_weights.box2ocr"]) == (
        0.1,
        pytest.approx(2 / 7.62),
    )
    assert sum(value for name, value in last.values.items() if name.startswith("AskQuestions.task_weights.")) == pytest.approx(1)
    assert reading.tokens < 0.7 * last.tokens  # a question about a close-up, not three about a scene
    assert all(task in text(plan).splitlines()[2] for task in ("CropToRegion.probability", "box2ocr", "text2box"))
    titles = [chart.title for chart in scheduled_charts(plan)]
    assert titles[-1] == "AskQuestions.task_weights: shares"
    assert "CropToRegion.probability" in titles
