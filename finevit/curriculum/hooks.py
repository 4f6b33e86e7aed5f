"""The curriculum's hooks: one sets scheduled values on the model before each step, one lets parts of it begin again.

What must act inside the loader's workers (resolution) is not set here: it travels with each request from the batch
sampler.
"""

from collections.abc import Sequence
from numbers import Real

import torch
from mmengine.hooks import Hook
from mmengine.runner import Runner
from torch import Tensor, nn

from finevit.console import say
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

    def __init__(self, *, schedules: dict[str, dict]) -> None:
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


@HOOKS.register_module()
class ResetHook(Hook):
    """Puts parts of the model back to the weights that they began the run with, once, and forgets what the optimiser kept of them.

    A part that has learned one task alone is slow to learn another (primacy bias, Nikishin et al., 2022); the parts beside it
    keep what they learned through it. Checkpoints before ``begin`` hold the first weights too, for a run that is resumed.

    Args:
        parts: names of parts of the model, such as ``["connector", "llm"]``.
        begin: the step before which they are put back; in a config also a share of the run, as a float.

    Raises ``ValueError`` where the model has no such part, or a checkpoint to resume from lacks the first weights.
    """

    def __init__(self, *, parts: Sequence[str], begin: int) -> None:
        if isinstance(parts, str) or not parts:
            raise ValueError(f"ResetHook.parts={parts!r}: give a list of names of the model's parts")
        if not isinstance(begin, int) or begin < 0:
            raise ValueError(f"ResetHook.begin={begin!r}: give a step, at least 0; in a config also a share of the run")
        self.parts, self.begin = list(parts), begin
        self.first: dict[str, Tensor] | None = None

    def before_run(self, runner: Runner) -> None:
        """Check that every part exists."""
        model = unwrapped(runner.model)
        known = dict(model.named_modules())
        for part in self.parts:
            if part not in known:
                raise ValueError(f"ResetHook.parts: {type(model).__name__} has no part {part!r}{did_you_mean(part, known)}")

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        if not runner._resume or checkpoint["meta"].get("iter", 0) > self.begin:
            return
        kept, names = checkpoint.get(_FIRST, {}), self._state(runner)
        if not kept.keys() >= names.keys():
            raise ValueError(
                f"resume: the checkpoint lacks the first weights of {', '.join(self.parts)}, to which ResetHook puts them back at "
                f"step {self.begin}. Take the hook out of custom_hooks, or start a new run with --cfg-options load_from=CHECKPOINT"
            )
        self.first = {name: kept[name] for name in names}

    def before_train(self, runner: Runner) -> None:
        """Keep the first weights."""
        if self.first is None and runner.iter <= self.begin:
            self.first = {name: value.detach().cpu().clone() for name, value in self._state(runner).items()}

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        if self.first is not None:
            checkpoint.setdefault(_FIRST, {}).update(self.first)

    @torch.no_grad()
    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: dict | None = None) -> None:
        """Put the parts back at their step."""
        if self.first is None or runner.iter < self.begin:
            return
        for name, value in self._state(runner).items():
            value.copy_(self.first[name])
        for part in self.parts:
            for parameter in unwrapped(runner.model).get_submodule(part).parameters():
                parameter.grad = None
                runner.optim_wrapper.optimizer.state.pop(parameter, None)
        self.first = None
        say(f"{', '.join(self.parts)}: put back to what they were before the first step", runner.logger)

    def _state(self, runner: Runner) -> dict[str, Tensor]:
        """Parameters and buffers of the parts."""
        model = unwrapped(runner.model)
        return {f"{part}.{name}": value for part in self.parts for name, value in model.get_submodule(part).state_dict().items()}


_FIRST = "first_weights"
"""Where a checkpoint holds them."""
