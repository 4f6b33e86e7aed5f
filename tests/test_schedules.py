"""Schedules are pure functions of the step; the hook sets and reports them."""

from types import SimpleNamespace

import numpy as np
import pytest
from finevit_plugins.schedules import ConstantResolution, LinearResolution, StepResolution
from mmengine.logging import MessageHub
from torch import nn

from finevit.curriculum.hooks import ScheduleHook
from finevit.curriculum.schedules import Constant, Cosine, Linear, Milestones
from finevit.datasets import NativeImages
from finevit.datasets.samplers import NativeBatchSampler, StatelessSampler
from finevit.planning.scheduled import check_schedules, turns
from finevit.plugins import load_plugins
from finevit.scenes.source import Scenes


def test_scalar_schedules():
    assert Constant(value=0.5)(10**9) == 0.5
    linear = Linear(begin_value=0.4, end_value=0.8, begin=10, end=20)
    assert [linear(step) for step in (0, 10, 15, 20, 99)] == pytest.approx([0.4, 0.4, 0.6, 0.8, 0.8])
    cosine = Cosine(begin_value=1.0, end_value=0.0, end=4)
    assert [cosine(step) for step in (0, 1, 2, 4, 5)] == pytest.approx([1, (1 + 2**-0.5) / 2, 0.5, 0, 0])
    steps = Milestones(milestones=[(0, 0.1), (5, 0.2)])
    assert [steps(step) for step in (0, 4, 5, 50)] == [0.1, 0.1, 0.2, 0.2]


def test_resolution_schedules():
    assert ConstantResolution(side=256, square=True)(3) == (256 * 256, True)
    linear = LinearResolution(begin_side=336, end_side=448, end=100)
    assert [linear(step).pixels for step in (0, 50, 100, 1000)] == [336**2, 392**2, 448**2, 448**2]
    steps = StepResolution(milestones=[(0, 224), (10, 336)])
    assert [steps(step) for step in (0, 9, 10)] == [(224**2, False), (224**2, False), (336**2, False)]


@pytest.mark.parametrize(
    ("schedule", "arguments", "message"),
    [
        (Linear, {"begin_value": 0, "end_value": 1, "end": 0}, "Linear.end=0: give a whole number, at least 1"),
        (Linear, {"begin_value": 0, "end_value": 1, "begin": 3, "end": 3}, "begin=3, end=3"),
        (LinearResolution, {"begin_side": 224, "end_side": 448, "begin": 9, "end": 3}, "begin=9, end=3"),
        (ConstantResolution, {"side": 14}, "side=14: give a side of two patches in pixels, at least 28"),
        (StepResolution, {"milestones": [(5, 224)]}, "first at step 0"),
        (Milestones, {"milestones": [(0, 1.0), (9, 2.0), (5, 3.0)]}, "ascending order"),
        (Milestones, {"milestones": []}, "from 0 on"),
        (Milestones, {"milestones": [(0, 1.0), ("9", 2.0)]}, r"milestones\.1\.0='9': give a whole number, at least 0"),
        (Milestones, {"milestones": [(0, 1.0), 9]}, r"milestones\.1=9: give a list of \(a whole number, at least 0, "),
        (
            Milestones,
            {"milestones": [(0, True), (9, "no")]},
            r"milestones\.1\.1='no': give a number, or True or False",
        ),
        (Linear, {"begin_value": "a", "end_value": 1, "end": 3}, "begin_value='a': give a number"),
        (Cosine, {"begin_value": 0, "end_value": None, "end": 3}, "end_value=None: give a number"),
        (Cosine, {"begin_value": 0, "end_value": 1, "end": "3"}, "end='3': give a whole number, at least 1"),
        (Constant, {"value": [0.0, 0.75]}, r"value=\[0.0, 0.75\]: give a number"),
    ],
)
def test_wrong_settings(schedule, arguments, message):
    load_plugins()
    with pytest.raises(ValueError, match=message):
        schedule(**arguments)


class Head(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = 1.0


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.mask_ratio, self.text_frozen, self.head = 0.75, False, Head()


def runner_at(step: int) -> SimpleNamespace:
    return SimpleNamespace(model=Model(), iter=step, message_hub=MessageHub("schedules"))


def test_hook_sets_and_reports():
    ramp = {"type": "Linear", "begin_value": 0.0, "end_value": 1.0, "end": 10}
    hook = ScheduleHook(schedules={"mask_ratio": ramp, "head.weight": {"type": "Constant", "value": 3.0}})
    runner = runner_at(4)
    hook.before_run(runner)
    hook.before_train_iter(runner, 0)
    assert (runner.model.mask_ratio, runner.model.head.weight) == (pytest.approx(0.4), 3.0)
    assert runner.message_hub.get_scalar("train/mask_ratio").current() == pytest.approx(0.4)


def test_a_switch_is_set_as_it_is_and_logged_as_a_number():
    hook = ScheduleHook(schedules={"mask_ratio": {"type": "Milestones", "milestones": [(0, True), (3, False)]}})
    for step, value in ((2, True), (3, False)):
        runner = runner_at(step)
        hook.before_train_iter(runner, 0)
        assert runner.model.mask_ratio is value
        assert type(runner.message_hub.get_scalar("train/mask_ratio").current()) in (float, np.float64)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("mask_ration", "Model.*did you mean 'mask_ratio'"),
        ("had.weight", "no part 'had'.*did you mean 'head'"),
        ("head", "'head' is no setting of Model"),
    ],
)
def test_hook_refuses_unknown_attributes(name, message):
    hook = ScheduleHook(schedules={name: {"type": "Constant", "value": 1.0}})
    with pytest.raises(ValueError, match=message):
        hook.before_run(runner_at(0))


@pytest.mark.parametrize(
    ("name", "schedule", "message"),
    [
        ("head.weight", 0.5, r"schedules\.head\.weight=0\.5: give a schedule, such as dict\(type='Constant', value=0\.5\)"),
        (
            "head.weight",
            {"type": "Linear", "begin_value": "a", "end_value": 1, "end": 3},
            r"schedules\.head\.weight: Linear\.begin_value='a'",
        ),
        (
            "text_frozen",
            {"type": "Milestones", "milestones": [(0, "yes"), (5, False)]},
            r"schedules\.text_frozen: Milestones\.milestones\.0\.1='yes'",
        ),
    ],
)
def test_hook_names_the_schedule_that_cannot_be_built(name, schedule, message):
    with pytest.raises(ValueError, match=message):
        ScheduleHook(schedules={name: schedule})


def test_the_batch_sampler_names_the_resolution_that_cannot_be_built():
    load_plugins()
    with pytest.raises(ValueError, match=r"batch_sampler\.resolution: ConstantResolution\.side=9: give a side"):
        NativeBatchSampler(
            sampler=StatelessSampler(dataset=range(9)), batch_size=2, resolution={"type": "ConstantResolution", "side": 9}
        )


def test_turns_miss_no_milestone_however_short():
    schedule = Milestones(milestones=[(0, 1), (777_777, 2), (777_778, 1), (2_000_000, 3)])
    assert {0, 777_777, 777_778, 999_999} <= set(turns([schedule], 10**6))
    assert 2_000_000 not in turns([schedule], 10**6)
    ramp = Linear(begin_value=1, end_value=2, begin=333_333, end=333_334)
    assert {333_333, 333_334} <= set(turns([ramp, lambda step: 5], 10**6))


def spike(value: object, usual: object) -> dict:
    """A value at one step of a million."""
    return {"type": "Milestones", "milestones": [(0, usual), (777_777, value), (777_778, usual)]}


def batch_sampler(schedules: dict) -> NativeBatchSampler:
    kinds = ("AskQuestions", "Patchify", "DropPatches", "Tokenize")
    transforms = [{"type": f"finevit.{kind}", **({"tokenizer": "scenes"} if kind == "Tokenize" else {})} for kind in kinds]
    dataset = NativeImages(source=Scenes(length=9), transforms=transforms)
    resolution = {"type": "ConstantResolution", "side": 56}
    order = StatelessSampler(dataset=dataset)
    return NativeBatchSampler(sampler=order, batch_size=2, resolution=resolution, schedules=schedules)


@pytest.mark.parametrize(
    ("batches", "hook", "message"),
    [
        ({"Tokenize": {"max_seq_len": spike(0.4, 64)}}, {}, r"schedules\.Tokenize\.max_seq_len is 0 at step 777777"),
        ({"DropPatches": {"ratio": spike(1.0, 0.5)}}, {}, r"schedules\.DropPatches\.ratio is 1\.0 at step 777777"),
        ({"AskQuestions": {"task_weights": {"counting": spike(-1, 1)}}}, {}, r"AskQuestions\.task_weights is .* at step 777777"),
        (
            {"AskQuestions": {"task_weights": {"counting": spike(0, 1)}}},
            {},
            r"AskQuestions\.task_weights is .* at step 777777.*one above 0",
        ),
        ({}, {"text_frozen": spike(0.5, True)}, r"schedules\.text_frozen is 0\.5 at step 777777: .*True and False, .*switch"),
        ({}, {"mask_ratio": {"type": "ConstantResolution", "side": 56}}, r"schedules\.mask_ratio is ImageBudget.* at step 0"),
        ({"DropPatches": {"ratio": {"type": "Linear", "begin_value": 0, "end_value": 1, "end": 9}}}, {}, "ratio is 1.0 at step 9:"),
    ],
)
def test_a_value_of_no_use_anywhere_in_the_run_is_named_before_the_first_step(batches, hook, message):
    load_plugins()
    sampler = batch_sampler(batches)
    runner = SimpleNamespace(
        train_dataloader=SimpleNamespace(batch_sampler=sampler),
        train_loop=SimpleNamespace(max_iters=10**6),
        hooks=[ScheduleHook(schedules={"mask_ratio": spike(0.5, 0.75), **hook})],
        model=Model(),
    )
    with pytest.raises(ValueError, match=message):
        check_schedules(runner)


def test_only_steps_of_the_run_count():
    load_plugins()
    sampler = batch_sampler({"DropPatches": {"ratio": {"type": "Linear", "begin_value": 0, "end_value": 1, "end": 9}}})
    loader, loop = SimpleNamespace(batch_sampler=sampler), SimpleNamespace(max_iters=9)
    check_schedules(SimpleNamespace(train_dataloader=loader, train_loop=loop, hooks=[], model=Model()))
