"""What becomes of a run's dialogues: whether the language model can read them, and how many questions were asked and left out."""

from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any

from mmengine.dist import all_gather_object
from mmengine.hooks import Hook
from mmengine.runner import Runner

from finevit.console import say
from finevit.contracts import AlignmentLLM
from finevit.datasets.transforms.dialogue_transforms import TokenizeDialogue
from finevit.planning.askable import check_asked
from finevit.planning.scheduled import check_length, transforms_over
from finevit.registry import HOOKS
from finevit.unwrap import unwrapped


@HOOKS.register_module()
class DialogueHook(Hook):
    """Logs ``train/answers`` (questions of an image) and ``train/text_tokens`` (of an image, visual ones included) of each batch,
    and at the end what the run has asked and left out, by reason.

    Totals go into checkpoints, so that a resumed run's are those of the whole. Before training, validation and test,
    ``ValueError`` names a text length or tokenizer that the language model cannot read, and before training what the data lacks for
    the tasks that are asked. Does nothing where there are no dialogues.
    """

    def before_train(self, runner: Runner) -> None:
        if not (llm := _llm(runner)):
            return
        loader = runner.train_dataloader
        for step, transforms in transforms_over(loader, runner.max_iters).items():
            for transform in _tokenizing(transforms):
                check_training(step, transform.max_seq_len or loader.dataset.max_seq_len, llm)
                check_tokenizer(transform, llm)
        check_asked("train_dataloader", loader, steps=runner.max_iters)
        if runner.val_loop is not None:  # not only when the training has come to it
            self.before_val(runner)
            check_asked("val_dataloader", runner.val_dataloader)

    def before_val(self, runner: Runner) -> None:
        if llm := _llm(runner):
            check_evaluation("val_dataloader", runner.val_dataloader.dataset, llm)

    def before_test(self, runner: Runner) -> None:
        if llm := _llm(runner):
            check_evaluation("test_dataloader", runner.test_dataloader.dataset, llm)

    def after_train_iter(self, runner: Runner, batch_idx: int, data_batch: dict | None = None, outputs: dict | None = None) -> None:
        if not data_batch or "dialogues" not in data_batch:
            return
        dialogues, images = data_batch["dialogues"], len(data_batch["dialogues"].seqlens)
        totals = _so_far(runner)
        totals.update({**data_batch["counts"], "images": images, "answers": sum(dialogues.answers)})
        runner.message_hub.update_info("dialogues", dict(totals))
        runner.message_hub.update_scalar("train/answers", sum(dialogues.answers) / images)
        runner.message_hub.update_scalar("train/text_tokens", sum(dialogues.seqlens) / images)

    def after_train(self, runner: Runner) -> None:
        totals: Counter[str] = sum(all_gather_object(_so_far(runner)), Counter())
        if totals["images"]:
            say(summary(totals), runner.logger)


def check_training(step: int, length: int, llm: AlignmentLLM) -> None:
    """``ValueError`` for a length of the training's dialogues that is not set or too long for the language model."""
    remedy = f"end the schedule at {llm.context}, or take a model of a longer context"
    reads = ("language model", llm.context, "positions")
    check_length("TokenizeDialogue.max_seq_len", length, "a dialogue", reads=reads, remedy=remedy, step=step)


def check_evaluation(loader: str, dataset: Any, llm: AlignmentLLM) -> None:
    """``ValueError`` for a text length or tokenizer of a loader's data with which the language model cannot read its questions."""
    for transform in _tokenizing(getattr(getattr(dataset, "transforms", None), "transforms", ())):
        check_tokenizer(transform, llm)
        own, setting = transform.max_seq_len, f"{loader}.dataset.max_seq_len"
        length, setting = (own, f"TokenizeDialogue.max_seq_len of {loader}.dataset") if own else (dataset.max_seq_len, setting)
        setting += " (where not given, val_dataloader's)" if loader == "test_dataloader" else ""
        remedy = f"set at most {llm.context}, or take a model of a longer context"
        check_length(setting, length, "image and question", reads=("language model", llm.context, "positions"), remedy=remedy)


def check_tokenizer(transform: TokenizeDialogue, llm: AlignmentLLM) -> None:
    """``ValueError`` for another tokenizer than the language model's: its ids would mean other words."""
    if transform.chat.name != llm.tokenizer:
        raise ValueError(
            f"TokenizeDialogue.tokenizer={transform.chat.name!r}, but the language model's is {llm.tokenizer!r}; "
            "leave out TokenizeDialogue.tokenizer, which is then the model's"
        )


def _llm(runner: Runner) -> AlignmentLLM | None:
    """The language model of a run, if it has one."""
    model = unwrapped(runner.model)
    llm = getattr(model, "llm", None)
    return llm if isinstance(llm, AlignmentLLM) else None


def _tokenizing(transforms: Iterable[Callable]) -> list[TokenizeDialogue]:
    """What tokenises dialogues."""
    return [transform for transform in transforms if isinstance(transform, TokenizeDialogue)]


def _so_far(runner: Runner) -> Counter[str]:
    """Totals of this rank; they stand in the message hub, and so in checkpoints (those of the first rank)."""
    return Counter(runner.message_hub.get_info("dialogues", {}))


def summary(totals: Counter[str]) -> str:
    """The line for people."""
    left_out = [f"{count:,} {reason}" for reason, count in sorted(totals.items()) if reason not in ("images", "answers") and count]
    said = f"dialogues: {totals['images']:,} images, {totals['answers']:,} questions asked"
    return f"{said}; left out: {', '.join(left_out) or 'none'}"
