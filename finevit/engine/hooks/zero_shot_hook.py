"""Zero-shot classification inside a run: the prompts are encoded by the weights that are evaluated."""

import time
from collections.abc import Sequence

from mmengine.hooks import Hook
from mmengine.logging import MMLogger
from mmengine.model import BaseModel
from mmengine.runner import BaseLoop, Runner
from torch import Tensor

from finevit.console import say
from finevit.evaluation.contrastive_metrics import ZeroShot
from finevit.hub.tokenizers import load_tokenizer
from finevit.packing.texts import pack_texts
from finevit.registry import HOOKS
from finevit.unwrap import unwrapped

PATIENCE = 20.0
"""Seconds between two lines about the progress."""


@HOOKS.register_module()
class ZeroShotHook(Hook):
    """Gives every :class:`~finevit.evaluation.contrastive_metrics.ZeroShot` metric of an evaluation its classifiers.

    Classes, and prompts of its own, are those of the data set's source (``classes``, ``templates``). A prompt may have as many
    tokens as the data set's ``max_seq_len`` says, else the text encoder's ``context``: it is to be the length that the model was
    trained with, since towers that pad to it (SigLIP's) are ruined by another. Does nothing where there is no such metric.
    """

    priority = "LOW"  # after hooks that exchange the weights, such as MMEngine's EMAHook

    def before_val_epoch(self, runner: Runner) -> None:
        self._prepare(runner, runner.val_loop)

    def before_test_epoch(self, runner: Runner) -> None:
        self._prepare(runner, runner.test_loop)

    @staticmethod
    def _prepare(runner: Runner, loop: BaseLoop) -> None:
        metrics = [metric for metric in loop.evaluator.metrics if isinstance(metric, ZeroShot)]
        if not metrics:
            return
        model = unwrapped(runner.model)
        dataset = loop.dataloader.dataset
        encode = PromptEncoder(model.eval(), dataset.max_seq_len or model.text_encoder.context, runner.logger)
        for metric in metrics:
            classes, templates = (getattr(dataset.source, name, ()) for name in ("classes", "templates"))
            metric.prepare(encode, classes, templates, labels=getattr(dataset.source, "labels", ""))
        encode.finish()


class PromptEncoder:
    """Prompts -> vectors ``[texts, embed]`` of a model that is in evaluation mode; tells how far it is, and what was cut."""

    def __init__(self, model: BaseModel, limit: int, logger: MMLogger) -> None:
        self.model, self.limit, self.logger = model, limit, logger
        self.tokenizer = load_tokenizer(model.text_encoder.tokenizer)
        self.device = next(model.parameters()).device
        self.seen, self.cut, self.told = 0, 0, time.monotonic()

    def __call__(self, texts: Sequence[str]) -> Tensor:
        ids, truncated = self.tokenizer(texts, self.limit)
        self.seen, self.cut = self.seen + len(texts), self.cut + sum(truncated)
        if time.monotonic() - self.told > PATIENCE:
            self.told = time.monotonic()
            say(f"zero-shot: {self.seen:,} prompts encoded so far", self.logger)
        packed = pack_texts(ids, self.limit)
        return self.model.embed_texts(
            packed._replace(tokens=packed.tokens.to(self.device), cu_seqlens=packed.cu_seqlens.to(self.device))
        )

    def finish(self) -> None:
        """A warning where prompts did not fit."""
        if self.cut:
            self.logger.warning(
                f"zero-shot: {self.cut:,} of {self.seen:,} prompts are longer than {self.limit} tokens and were cut"
            )
