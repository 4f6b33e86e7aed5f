"""Checkpoints that a run begins with or goes on from: what fits, and whether a file is one."""

from collections.abc import Mapping
from typing import Any

from mmengine.dist import barrier
from mmengine.hooks import CheckpointHook
from mmengine.runner import Runner
from torch import Tensor

from finevit.console import say
from finevit.engine.hooks.checkpoint_hook import DurableCheckpointHook
from finevit.engine.resumed import check_state, warn_of_lost
from finevit.hub.weights import differences, read_checkpoint, refuse, resample_patches, weights_of
from finevit.registry import HOOKS
from finevit.unwrap import unwrapped


@HOOKS.register_module()
class StreamingCheckpointHook(DurableCheckpointHook):
    """The durable hook of the stages.

    A checkpoint that is loaded must be of this model: what fits by name and shape is taken over, the rest is trained anew. A line
    for people says so by parts, the log file by tensors.
    """

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        model = unwrapped(runner.model)
        setting = "resume" if runner._resume else "load_from"
        said = [] if runner._resume else resampled(model, checkpoint)
        super().after_load_checkpoint(runner, checkpoint)
        own, weights = model.state_dict(), weights_of(checkpoint)
        faults = differences(own, weights)
        fits = {name: value for name, value in weights.items() if name not in faults}
        taken = taken_over(own, weights, setting=setting)
        if runner._resume:
            check_state(runner, checkpoint)
            warn_of_lost(runner, checkpoint)
        said += [taken, f"{len(fits)} of {len(own)} tensors, from {runner._load_from}"]
        say(f"{setting}: {'; '.join(said)}", runner.logger)
        if faults:
            runner.logger.info(f"{setting}, what differs:\n  " + "\n  ".join(f"{name}: {what}" for name, what in faults.items()))
        checkpoint["state_dict"] = {**own, **fits}  # MMEngine would list what differs once more, and as a warning


def save_now(runner: Runner) -> str:
    """Writes a checkpoint between two steps, as the run's own hook does, named by the step; its path. Every rank waits for it."""
    own = [hook for hook in runner.hooks if isinstance(hook, CheckpointHook)]
    hook = next((hook for hook in own if not hook.by_epoch), None)
    if hook is None:
        hook = StreamingCheckpointHook(by_epoch=False)
        hook.before_train(runner)
        hook.out_dir = own[0].out_dir if own else hook.out_dir
    hook._save_checkpoint_with_step(runner, runner.iter, meta={"epoch": runner.epoch, "iter": runner.iter})
    barrier()
    return str(hook.last_ckpt)


_REMEDIES = {
    "resume": "restore the model's settings, or start a new run without --resume",
    "load_from": "give the backbone the checkpoint's settings, or load another checkpoint",
}
"""Where a checkpoint does not fit, by the setting that names it."""
_WHOLE = {"llm": "set model.llm with its train and lora as in the checkpoint, or load a checkpoint without a language model"}
"""Parts that are of no use if a checkpoint fills them in part, with the remedy."""


def resampled(model: Any, checkpoint: dict) -> list[str]:
    """Fits the checkpoint's patch embedding to the patches that ``model.backbone.patch`` asks for; what was done, for people."""
    backbone: Any = getattr(model, "backbone", None)
    if not getattr(backbone, "resamples", False):
        return []
    weights = weights_of(checkpoint)
    said = resample_patches(weights, "backbone.embed.weight", backbone.patch)
    checkpoint["state_dict"] = weights
    return [said] if said else []


def taken_over(model: dict[str, Tensor], weights: dict[str, Tensor], *, setting: str) -> str:
    """Which of the model's parts (first names of its tensors) a checkpoint fills and which start new, for people.

    Raises ``ValueError`` where it does not fill the whole backbone or, to resume a run, the whole model; and where it fills a
    language model in part (with LoRA into one without, or the reverse).
    """
    faults = differences(model, weights)
    fits = model.keys() - faults.keys()
    needed = {name: what for name, what in faults.items() if setting != "load_from" or name.startswith("backbone.")}
    if needed or not fits:
        refuse(needed or faults, where=f"{setting}: the checkpoint is of another model", remedy=_REMEDIES[setting])
    for part, remedy in _WHOLE.items():
        differ = {name: what for name, what in faults.items() if name.startswith(f"{part}.")}
        if differ and any(name.startswith(f"{part}.") for name in fits):
            refuse(differ, where=f"{setting}: the checkpoint fills {part} in part alone", remedy=remedy)
    parts: dict[str, list[str]] = {}
    for name in model:
        parts.setdefault(name.partition(".")[0], []).append(name)
    new = [part for part, names in parts.items() if fits.isdisjoint(names)]
    partly = [part for part, names in parts.items() if part not in new and not fits.issuperset(names)]
    taken = [part for part in parts if part not in (*new, *partly)]
    said = (("taken over", taken), ("taken over in part, the rest starts new", partly), ("start new", new))
    return "; ".join(f"{what}: {', '.join(names)}" for what, names in said if names)


def check_resumable(checkpoint: str, *, remedy: str = "give another with --resume FILE, or start anew without --resume") -> int:
    """The iteration of a whole checkpoint of a training run, 0 of one far away; ``ValueError`` where a file is none."""
    if "://" in checkpoint:
        return 0
    content = read_checkpoint(checkpoint, setting="resume", remedy=remedy)
    if absent := {"meta", "state_dict", "optimizer"} - content.keys():
        raise ValueError(f"resume={checkpoint!r} lacks {', '.join(sorted(absent))}, so no run can go on from it; {remedy}")
    iteration = content["meta"].get("iter") if isinstance(content["meta"], Mapping) else None
    if not isinstance(iteration, int):
        raise ValueError(f"resume={checkpoint!r} does not say its iteration (meta.iter), so no run can go on from it; {remedy}")
    return iteration


def check_loadable(
    checkpoint: str, *, setting: str = "load_from", remedy: str = "give another with --cfg-options load_from=FILE"
) -> None:
    """Raise ``ValueError`` where a file, which ``setting`` names, holds no weights that could be read."""
    if "://" not in checkpoint:
        read_checkpoint(checkpoint, setting=setting, remedy=remedy)
