"""Says of a run which of the model's parts a checkpoint filled, and which are frozen with random weights."""

import logging
from itertools import chain

from mmengine.hooks import Hook
from mmengine.runner import Runner

from finevit.hub.origins import changes, marked, say, trained_fraction, warn_if_frozen
from finevit.hub.weights import differences, under, weights_of
from finevit.registry import HOOKS
from finevit.unwrap import unwrapped


@HOOKS.register_module()
class OriginsHook(Hook):
    """For any package's runner: at the first step, when all is loaded and schedules have set what is frozen, it warns.

    A checkpoint whose config gave a part another function than this run's, such as another ``rope_theta``, is told of, and
    refused where the run would be resumed from it.
    """

    priority = "VERY_LOW"

    def __init__(self) -> None:
        self._first = True

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Before its weights are taken over."""
        setting = "resume" if runner._resume else "load_from"
        where = f"{setting}={str(runner._load_from)!r}"
        for name, part in marked(unwrapped(runner.model)):
            state = part.state_dict()
            found = under(weights_of(checkpoint), name)
            say(f"{name}: {len(state.keys() - differences(state, found).keys())} of {len(state)} tensors from {where}")
            if other := changes(part, checkpoint, name):
                message = f"{where}: model.{name} would do other than it was trained to: {', '.join(other)}; restore the setting"
                if runner._resume:
                    raise ValueError(message)
                say(message, logging.WARNING)

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: dict | None = None) -> None:
        """Once."""
        if not self._first:
            return
        self._first = False
        model, groups = unwrapped(runner.model), runner.optim_wrapper.param_groups
        groups = chain(*groups.values()) if isinstance(groups, dict) else groups
        rates = {id(p): group.get("initial_lr", group["lr"]) for group in groups for p in group["params"]}
        for name, part in marked(model):
            switch = getattr(model, "switches", {}).get(name.partition(".")[0], "")
            warn_if_frozen(part, name, 0.0 if getattr(model, switch, False) else trained_fraction(part, rates))
