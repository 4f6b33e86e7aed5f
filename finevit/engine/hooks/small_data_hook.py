"""What small own data does to a run, said before it: few images to score, images twice in a batch, a tokenizer of other words."""

import logging
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmengine.runner import Runner

from finevit.contracts import BadSample, Source, TextEncoder
from finevit.datasets.readers.files import FileSource
from finevit.datasets.samplers import NativeBatchSampler, StatelessSampler
from finevit.datasets.transforms.dialogue_transforms import TokenizeDialogue
from finevit.hub.tokenizers import OWN, Tokenizer
from finevit.packing.texts import cleaned
from finevit.registry import HOOKS
from finevit.scenes.source import Scenes
from finevit.unwrap import unwrapped

FEW = 50
"""Fewer images than this say little: a single one is 2 % of every score."""
OFTEN = 50
"""Batches of an epoch from which on those at its ends count for nothing."""
PLACES, RECORDS = 20_000, 100
"""Places of the training order, and records, that are looked at."""
SPELT = 1.8
"""Tokens a word: those of the embedded scenes take their own captions in 1.2 to 1.6, and spell others in pieces."""


@HOOKS.register_module()
class SmallDataHook(Hook):
    """Warns, before the run, of what a small set of own images or other captions mean, with figures and a remedy."""

    def before_train(self, runner: Runner) -> None:
        loader, encoder = runner.train_dataloader, getattr(unwrapped(runner.model), "text_encoder", None)
        if isinstance(encoder, TextEncoder):
            _warn(repeats(loader.batch_sampler, runner.max_iters))
        for transform in getattr(getattr(loader.dataset, "transforms", None), "transforms", ()):
            _warn(foreign(transform, loader.dataset.source, runner.cfg.get("data_root")))
        if runner.val_loop is not None:
            _warn(few("val_dataloader", runner.val_dataloader.dataset, retrieval=isinstance(encoder, TextEncoder)))

    def before_test(self, runner: Runner) -> None:
        encoder = getattr(unwrapped(runner.model), "text_encoder", None)
        _warn(few("test_dataloader", runner.test_dataloader.dataset, retrieval=isinstance(encoder, TextEncoder)))


def few(loader: str, dataset: Any, *, retrieval: bool = True) -> str:
    """What is to be said of an evaluation set's size; ``retrieval`` where captions are looked for among its images."""
    if len(dataset) >= FEW:
        return ""
    number = "1 image" if len(dataset) == 1 else f"{len(dataset)} images"
    certain = "; of one image its own caption is always found: R@1 is 1 whatever the model has learned"
    alone = certain if len(dataset) == 1 and retrieval else ""
    share = f"{1 / max(1, len(dataset)):.0%}"
    return f"{loader}: {number}, too few for scores that say much (each is {share} of them){alone}; {_more(loader, dataset)}"


def _more(loader: str, dataset: Any) -> str:
    """How an evaluation set gets more images."""
    source, option = getattr(dataset, "source", None), "dataset.source.holdout=0.2"
    if isinstance(source, Scenes):
        return f"draw more scenes, by --cfg-options {loader}.dataset.source.length=256"
    if source is not None and (not isinstance(source, FileSource) or source.split == "all"):
        return "give more"
    return f"hold out more of own data, by --cfg-options train_dataloader.{option} val_dataloader.{option}, or give more"


def repeats(batches: Any, steps: int) -> str:
    """What is to be said of batches that hold an image twice: its captions count as wrong for each other."""
    if not isinstance(batches, NativeBatchSampler) or not isinstance(batches.sampler, StatelessSampler):
        return ""
    source = getattr(batches.sampler.dataset, "source", None)
    images, size = getattr(source, "walk", len(batches.sampler)), batches.batch_size * batches.world_size
    if images >= OFTEN * size:
        return ""
    looked = max(1, min(steps, PLACES // size, 4 * OFTEN))
    positions = ([place for rank in batches.positions(step) for place in rank] for step in range(looked))
    twice = [size - len({batches.sampler.index_at(place) for place in each}) for each in positions]
    if not (wrong := sum(map(bool, twice))):
        return ""
    remedy = f"lower train_dataloader.batch_size (to {max(1, images // (2 * batches.world_size))} at most), or give more images"
    found = f"{wrong:,} of the first {looked:,} batches hold images twice or more, {sum(twice) / wrong:.1f} on average"
    why = "the contrastive loss takes an image's own captions for wrong ones there"
    return f"train_dataloader: {images:,} images for batches of {size:,}: {found}; {why}; {remedy}"


def foreign(transform: Any, source: Source, data_root: str | None) -> str:
    """What is to be said of a tokenizer of the embedded scenes that spells these captions letter by letter."""
    reader, setting, chat = getattr(transform, "tokenizer", None), "model.text_encoder.tokenizer", ""
    if isinstance(transform, TokenizeDialogue):
        reader, setting, chat = transform.chat, "model.llm.tokenizer", " --chat"
    if (name := getattr(reader, "name", "")) not in OWN or isinstance(source, Scenes):
        return ""
    each = _tokens_a_word(_reads(reader), source)
    if each <= SPELT:
        return ""
    train = f"finevit train-tokenizer --data-root {data_root or 'DATA'} --size 8192{chat} --out data/tokenizer"
    other = "model.llm.model=NAME of Hugging Face" if chat else "model.text_encoder.type=HuggingFaceText with model=NAME"
    spelt = f"it takes {each:.1f} tokens for a word of these captions (of the scenes, 1.2 to 1.6), which are cut early"
    remedy = f"train one, {train}, and set {setting}=data/tokenizer, or take {other}"
    return f"tokenizer={name!r} is that of the embedded scenes, of 1,024 ids: {spelt}; {remedy}"


def _reads(reader: Any) -> Callable[[str], int]:
    """How many tokens a text has."""
    return (
        (lambda text: len(reader([text], 100_000)[0][0]))
        if isinstance(reader, Tokenizer)
        else (lambda text: len(reader.encode(text)))
    )


def _tokens_a_word(count: Callable[[str], int], source: Source) -> float:
    """Of captions from all over the source; 0 where it has none."""
    texts = list(_captions(source))
    return sum(map(count, texts)) / max(1, sum(len(text.split()) for text in texts))


def _captions(source: Source) -> Iterator[str]:
    most = min(RECORDS, len(source))
    for place in range(most):
        with suppress(BadSample):
            record = source[place * len(source) // most]
            yield from filter(None, map(cleaned, (*record.captions.values(), *(region.phrase for region in record.regions))))


def _warn(said: str) -> None:
    if said:
        print_log(said, logger="current", level=logging.WARNING)
