"""What becomes of a run's captions: whether the text encoder can read them, and how many were seen, dropped and cut."""

from collections import Counter

from mmengine.dist import all_gather_object
from mmengine.hooks import Hook
from mmengine.runner import Runner

from finevit.console import say
from finevit.contracts import TextEncoder
from finevit.hub.tokenizers import Tokenizer
from finevit.planning.scheduled import check_length, transforms_over
from finevit.registry import HOOKS
from finevit.unwrap import unwrapped


@HOOKS.register_module()
class CaptionHook(Hook):
    """Logs ``train/truncated_share`` and ``train/text_tokens`` (tokens of a text) of each batch, and at the end the run's totals.

    Totals go into checkpoints, so that a resumed run's are those of the whole. A record without any usable caption is a bad sample,
    and ``BadSamplesHook`` counts it. Before the run, ``ValueError`` names a text length or tokenizer that the text encoder cannot
    read. Does nothing where there is no text.
    """

    def before_train(self, runner: Runner) -> None:
        loader, model = runner.train_dataloader, unwrapped(runner.model)
        encoder = getattr(model, "text_encoder", None)
        if not isinstance(encoder, TextEncoder):
            return
        for step, transforms in transforms_over(loader, runner.max_iters).items():
            for transform in transforms:
                if isinstance(tokenizer := getattr(transform, "tokenizer", None), Tokenizer):
                    check_vocabulary(tokenizer, encoder)
                    check_captions(step, getattr(transform, "max_seq_len", None) or loader.dataset.max_seq_len, tokenizer, encoder)

    def after_train_iter(self, runner: Runner, batch_idx: int, data_batch: dict | None = None, outputs: dict | None = None) -> None:
        if not data_batch or "texts" not in data_batch:
            return
        texts, counts = data_batch["texts"], data_batch["counts"]
        totals, limits = _so_far(runner)
        totals.update({**counts, "seen": len(texts.seqlens), "tokens": sum(texts.seqlens)})
        runner.message_hub.update_info("captions", {"totals": dict(totals), "limits": sorted({*limits, texts.max_seq_len})})
        runner.message_hub.update_scalar("train/truncated_share", counts.get("truncated", 0) / len(texts.seqlens))
        runner.message_hub.update_scalar("train/text_tokens", sum(texts.seqlens) / len(texts.seqlens))

    def after_train(self, runner: Runner) -> None:
        totals, limits = _so_far(runner)
        totals = sum(all_gather_object(totals), Counter())
        if totals["seen"]:
            say(summary(totals, limits), runner.logger)


def check_captions(step: int, length: int, tokenizer: Tokenizer, encoder: TextEncoder) -> None:
    """``ValueError`` for a length of captions that is too short for the tokenizer or too long for the text encoder."""
    setting = "Tokenize.max_seq_len"
    remedy = f"set model.text_encoder.context={length}, or end the schedule at {encoder.context}"
    check_length(setting, length, "a caption", reads=("text encoder", encoder.context, "tokens"), remedy=remedy, step=step)
    if length < tokenizer.least:
        raise ValueError(f"{setting} is {length} at step {step}: {tokenizer.name!r} needs {tokenizer.least} tokens at least")


def check_vocabulary(tokenizer: Tokenizer, encoder: TextEncoder) -> None:
    """``ValueError`` for a tokenizer with more ids than the text encoder embeds."""
    if tokenizer.size > encoder.vocab:
        remedy = f"leave out Tokenize.tokenizer, which is then {encoder.tokenizer!r}" if tokenizer.name != encoder.tokenizer else ""
        remedy = remedy or f"leave out model.text_encoder.vocab, or set at least {tokenizer.size}"
        raise ValueError(
            f"tokenizer={tokenizer.name!r} has {tokenizer.size:,} ids, but the text encoder embeds {encoder.vocab:,}; {remedy}"
        )


def _so_far(runner: Runner) -> tuple[Counter[str], set[int]]:
    """Totals of this rank and the limits; they stand in the message hub, and so in checkpoints (those of the first rank)."""
    kept = runner.message_hub.get_info("captions", {})
    return Counter(kept.get("totals", {})), set(kept.get("limits", ()))


def summary(totals: Counter[str], limits: set[int]) -> str:
    """The line for people."""
    faults = ("empty", "repeated", "looping", *(what for what in ("unreadable", "shared") if totals[f"{what} captions"]))
    dropped = ", ".join(f"{totals[f'{what} captions']:,} {what}" for what in faults)
    at = " to ".join(f"{limit}" for limit in sorted({min(limits), max(limits)}))
    share, each = totals["truncated"] / totals["seen"], totals["tokens"] / totals["seen"]
    return f"captions: {totals['seen']:,} seen, {dropped}, {share:.1%} truncated at {at} tokens, {each:.1f} tokens each"
