"""What becomes of a run's dialogues: whether the language model can read them, and how many questions were asked and left out."""

from collections import Counter
from typing import Any

from mmengine.dist import all_gather_object
from mmengine.hooks import Hook
from mmengine.runner import Runner

from finevit.console import say
from finevit.contracts import AlignmentLLM
from finevit.datasets.transforms.dialogue_transforms import TokenizeDialogue
from finevit.engine.hooks.captions_hook import text_lengths
from finevit.planning.askable import check_asked
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
        check_lengths(text_lengths(runner.train_dataloader.batch_sampler, runner.max_iters), llm)
        for transform in _tokenizing(runner.train_dataloader.dataset):
            check_tokenizer(transform, llm)
        batches = runner.train_dataloader.batch_sampler
        check_asked("train_dataloader.dataset", runner.train_dataloader.dataset, batches=batches, steps=runner.max_iters)
        if runner.val_loop is not None:  # not only when the training has come to it
            self.before_val(runner)
            check_asked("val_dataloader.dataset", runner.val_dataloader.dataset)

    def before_val(self, runner: Runner) -> None:
        if llm := _llm(runner):
            check_evaluation("val_dataloader", runner.val_dataloader.dataset, llm)

    def before_test(self, runner: Runner) -> None:
        if llm := _llm(runner):
            check_evaluation("test_dataloader", runner.test_dataloader.dataset, llm)

    def after_train_iter(self, runner: Runner, batch_idx: int, data_batch: dict | None = None, outputs: dict | None = None) -> None:
        if not data_batch or "dialogues" not in data_batch:
            return
        dialogues, images = data_batch["dialogues"], len(data_batch["dialogues"].lengths)
        totals = _so_far(runner)
        totals.update({**data_batch["counts"], "images": images, "answers": sum(dialogues.answers)})
        runner.message_hub.update_info("dialogues", dict(totals))
        runner.message_hub.update_scalar("train/answers", sum(dialogues.answers) / images)
        runner.message_hub.update_scalar("train/text_tokens", sum(dialogues.lengths) / images)

    def after_train(self, runner: Runner) -> None:
        totals: Counter[str] = sum(all_gather_object(_so_far(runner)), Counter())
        if totals["images"]:
            say(summary(totals), runner.logger)


def check_lengths(lengths: dict[int, int], llm: AlignmentLLM) -> None:
    """``ValueError`` for a text length (step -> tokens) that is not set or too long for the language model."""
    setting = "train_dataloader.batch_sampler.text_length"
    for step, length in lengths.items():
        if not length:
            raise ValueError(
                f"{setting} is not set, the most tokens of a dialogue: give a schedule, as dict(type='Constant', value=1024)"
            )
        if length > llm.context:
            raise ValueError(
                f"{setting} is {length} at step {step}, but the language model reads {llm.context} positions; "
                f"end the schedule at {llm.context}, or take a model of a longer context"
            )


def check_evaluation(loader: str, dataset: Any, llm: AlignmentLLM) -> None:
    """``ValueError`` for a text length or tokenizer of a loader's data with which the language model cannot read its questions."""
    for transform in _tokenizing(dataset):
        check_tokenizer(transform, llm)
        length, setting = dataset.text_length, f"{loader}.dataset.text_length"
        setting += " (where not given, val_dataloader's)" if loader == "test_dataloader" else ""
        if not length:
            raise ValueError(f"{setting} is not set, the most tokens of image and question; give a number, at most {llm.context}")
        if length > llm.context:
            raise ValueError(
                f"{setting} is {length}, but the language model reads {llm.context} positions; "
                f"set at most {llm.context}, or take a model of a longer context"
            )


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


def _tokenizing(dataset: Any) -> list[TokenizeDialogue]:
    """What tokenises a dataset's dialogues."""
    transforms = getattr(getattr(dataset, "transforms", None), "transforms", ())
    return [transform for transform in transforms if isinstance(transform, TokenizeDialogue)]


def _so_far(runner: Runner) -> Counter[str]:
    """Totals of this rank; they stand in the message hub, and so in checkpoints (those of the first rank)."""
    return Counter(runner.message_hub.get_info("dialogues", {}))


def summary(totals: Counter[str]) -> str:
    """The line for people."""
    left_out = [f"{count:,} {reason}" for reason, count in sorted(totals.items()) if reason not in ("images", "answers") and count]
    said = f"dialogues: {totals['images']:,} images, {totals['answers']:,} questions asked"
    return f"{said}; left out: {', '.join(left_out) or 'none'}"
