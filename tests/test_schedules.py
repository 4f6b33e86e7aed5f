"""Schedules are pure functions of the step; the hook sets and reports them."""

from types import SimpleNamespace

import numpy as np
import pytest
from finevit_plugins.schedules import ConstantResolution, LinearResolution, StepResolution
from mmengine.logging import MessageHub
from torch import nn

from finevit.curriculum.hooks import ScheduleHook
from finevit.curriculum.schedules import Constant, Cosine, Linear, Milestones


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
        (Linear, {"begin_value": 0, "end_value": 1, "end": 0}, "begin=0, end=0"),
        (LinearResolution, {"begin_side": 224, "end_side": 448, "begin": 9, "end": 3}, "begin=9, end=3"),
        (ConstantResolution, {"side": 14}, "side: a side of 14 pixels .* at least 28"),
        (StepResolution, {"milestones": [(5, 224)]}, "first at step 0"),
        (Milestones, {"milestones": [(0, 1.0), (9, 2.0), (5, 3.0)]}, "ascending order"),
        (Milestones, {"milestones": []}, "first at step 0"),
    ],
)
def test_wrong_settings(schedule, arguments, message):
    with pytest.raises(ValueError, match=message):
        schedule(**arguments)


class Head(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = 1.0


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.mask_ratio, self.head = 0.75, Head()


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
