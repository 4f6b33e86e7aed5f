"""The curriculum's hook: it sets scheduled values on the model before each step.

What must act inside the loader's workers (resolution) is not set here: it travels with each request from the batch
sampler.
"""

from numbers import Real

from mmengine.hooks import Hook
from mmengine.runner import Runner
from torch import nn

from finevit.registry import HOOKS, build_schedule
from finevit.suggest import did_you_mean
from finevit.unwrap import unwrapped


@HOOKS.register_module()
class ScheduleHook(Hook):
    """Sets attributes of the model as functions of the step, and logs each as ``train/NAME``.

    Args:
        schedules: attribute -> config of a schedule, such as ``{'mask_ratio': dict(type='Linear', begin_value=0.4,
        end_value=0.75,
            end=1000)}``. A dotted name reaches into a part: ``head.weight``.

    Raises ``ValueError`` before the run if the model has no such attribute, or one that is a parameter or a part, and if a value is
    no number, or not True or False for what is a switch.
    """

    priority = "VERY_HIGH"

    def __init__(self, *, schedules: dict) -> None:
        self.schedules = {name: build_schedule(f"schedules.{name}", schedule) for name, schedule in schedules.items()}

    def before_run(self, runner: Runner) -> None:
        """Check that every attribute exists."""
        for name in self.schedules:
            owner, attribute = _find(runner.model, name)
            settable = [key for key in vars(owner) if not key.startswith("_") and key != "training"]
            if attribute not in settable:
                hint = did_you_mean(attribute, settable)
                known = ", ".join(sorted(settable))
                raise ValueError(f"schedules: {name!r} is no setting of {type(owner).__name__}{hint}; there are {known}")

    def check(self, model: nn.Module, step: int) -> None:
        """``ValueError`` for a value of a step that its attribute cannot have."""
        for name, schedule in self.schedules.items():
            value, switch = schedule(step), isinstance(getattr(*_find(model, name)), bool)
            if not isinstance(value, Real) or (switch and value not in (0, 1)):
                wanted = "True and False, for it is a switch" if switch else "numbers"
                raise ValueError(f"schedules.{name} is {value!r} at step {step}: give a schedule of {wanted}")

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: dict | None = None) -> None:
        """Set and report the values of this step."""
        for name, value in self.apply(runner.model, runner.iter).items():
            runner.message_hub.update_scalar(f"train/{name}", float(value))  # a boolean too: MMEngine would refuse to draw it

    def apply(self, model: nn.Module, step: int) -> dict[str, float]:
        """Set the values of a step on the model, and return them."""
        values = {name: schedule(step) for name, schedule in self.schedules.items()}
        for name, value in values.items():
            owner, attribute = _find(model, name)
            setattr(owner, attribute, value)
        return values


def _find(model: nn.Module, name: str) -> tuple[nn.Module, str]:
    """The part of the unwrapped model that owns ``name``, and the last component of the name."""
    owner = unwrapped(model)
    *parts, attribute = name.split(".")
    for part in parts:
        children = dict(owner.named_children())
        if part not in children:
            raise ValueError(f"schedules: {name!r}: {type(owner).__name__} has no part {part!r}{did_you_mean(part, children)}")
        owner = children[part]
    return owner, attribute
