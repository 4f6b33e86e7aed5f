"""What is trained on what, said at the start of a run."""

import torch
from mmengine.dist import master_only
from mmengine.hooks import Hook
from mmengine.runner import Runner

from finevit.console import say
from finevit.engine.eval_caveats import seen
from finevit.engine.optimizers import BFloat16OptimWrapper
from finevit.ops.attention import path
from finevit.planning.plan import device_name
from finevit.precision import bfloat16_helps
from finevit.registry import HOOKS
from finevit.unwrap import unwrapped


@HOOKS.register_module()
class RunSummaryHook(Hook):
    """Says at the start, in a few lines, what is trained on what: the model's own ``describe()`` and the data's."""

    @master_only
    def before_train(self, runner: Runner) -> None:
        model = unwrapped(runner.model)
        own = "" if runner.cfg.get("data_root") else " (for your own images: --cfg-options data_root=PATH)"
        lines = [*model.describe(), f"data: {runner.train_dataloader.dataset.describe()}{own}"]
        if runner.val_loop is not None:
            lines.append(f"validation: {runner.val_dataloader.dataset.describe()}")
        sampler, device = runner.train_dataloader.batch_sampler, next(model.parameters()).device
        images = runner.train_loop.max_iters * sampler.batch_size * runner.world_size
        lines.append(
            f"plan: {runner.train_loop.max_iters} iterations of {sampler.batch_size} images on {runner.world_size} rank(s), "
            f"{images:,} images in all, on {device}"
        )
        if runner.val_loop is not None and (told := seen(runner.train_dataloader.dataset, runner.val_dataloader.dataset)):
            runner.logger.warning(f"validation: {told}; val_data_root=PATH leads it to images of their own")
        end = f"device: {device_name(device)}; seed {runner.seed}; from step {runner.iter}; work dir: {runner.work_dir}"
        for line in (*lines, self._path(runner, device), end):
            say(line, runner.logger)

    @staticmethod
    def _path(runner: Runner, device: torch.device) -> str:
        half = isinstance(runner.optim_wrapper, BFloat16OptimWrapper) and bfloat16_helps()
        return (
            f"precision: {'bfloat16' if half else 'float32'}; attention: {path(device, torch.bfloat16 if half else torch.float32)}"
        )
