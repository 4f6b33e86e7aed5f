"""From a record's captions to the tokens of one of them (paper, Stage II): several captioners, empty and repeated ones dropped."""

import logging
import math
import re
import unicodedata
from collections.abc import Container, Mapping
from contextlib import suppress
from typing import Annotated, Protocol, runtime_checkable

from annotated_types import Predicate
from mmengine.logging import print_log
from pydantic import NonNegativeFloat, PositiveInt

from finevit.contracts import BadSample, Source
from finevit.hub.tokenizers import load_tokenizer
from finevit.packing.texts import cleaned
from finevit.registry import TRANSFORMS
from finevit.suggest import did_you_mean

Weights = Annotated[
    Mapping[str, NonNegativeFloat],
    Predicate(lambda weights: any(weights.values())),
    "each captioner a weight of at least 0, and one above 0, such as dict(long=0.9, short=0.1)",
]
Captioners = Mapping[str, float] | None
_LOOKED_AT = 200  # records that are asked for a captioner before it counts as unknown
_GRAM, _WORDS = 4, 20
"""A caption loops if most of its runs of 4 words occur more than once; one of fewer than 20 words is too short to tell."""


def loops(text: str) -> bool:
    """Whether a captioner got caught in a loop: more than half of the runs of four words repeat an earlier one."""
    words = text.casefold().split()
    runs = list(zip(*(words[start:] for start in range(_GRAM)), strict=False))
    return len(words) >= _WORDS and 2 * len(set(runs)) < len(runs)


def fault(text: str, seen: Container[str] = ()) -> str:
    """What is wrong with a clean caption: ``empty`` (no letter, digit or symbol), ``repeated`` (in ``seen``) or ``looping``."""
    if not any(unicodedata.category(character)[0] in "LNS" for character in text):
        return "empty"
    return "repeated" if text.casefold() in seen else "looping" if loops(text) else ""


@runtime_checkable
class ChoosesCaptions(Protocol):
    """A transform that names captioners; a dataset has it look at its source before a run."""

    def check(self, source: Source) -> None: ...


def wanted(own: Captioners, setting: str, captioners: Captioners) -> tuple[Captioners, str]:
    """The captioners that count, a transform's ``own`` or the source's, and the setting that has them; None for all, alike."""
    return (own, setting) if own is not None else (captioners, "dataset.source.captioners")


def check_captioners(own: Captioners, setting: str, source: Source, *, records: int = _LOOKED_AT) -> None:
    """Looks for the wanted captioners in records from all over the source, until each was found.

    ``ValueError`` where none of them is there, or one is that is spelt alike; else they may be rare, and a warning names them.
    """
    named, setting = wanted(own, setting, getattr(source, "captioners", None))
    sought = {name for name, weight in (named or {}).items() if weight}
    absent, there, look = set(sought), dict[str, None](), min(records, len(source))
    for place in range(look):
        if not absent:
            return
        with suppress(BadSample):
            there |= dict.fromkeys(source[place * len(source) // look].captions)
        absent -= there.keys()
    if not absent or not there:
        return
    names, hint = ", ".join(sorted(absent)), "".join(did_you_mean(name, there) for name in sorted(absent))
    problem = f"{setting} names {names}, which none of {look:,} records has{hint}; they have {', '.join(there)}"
    if hint or absent == sought:
        raise ValueError(f"{problem}. Correct {setting} to the captioners of {source.describe()}")
    print_log(f"{problem}; captioners that no record has are never drawn", logger="current", level=logging.WARNING)


def check_captioned(source: Source, *, records: int = _LOOKED_AT) -> None:
    """``ValueError`` where no record from all over the source has a caption that can be used; one that has ends the search."""
    read, look = 0, min(records, len(source))
    for place in range(look):
        with suppress(BadSample):
            captions = source[place * len(source) // look].captions
            if not all(fault(cleaned(text)) for text in captions.values()):
                return
            read += 1
    if read:
        remedy = "give data with captions (docs/data.md), or train Stage I, which needs none"
        raise ValueError(f"{source.describe()}: none of {read:,} records looked at has a caption that can be used; {remedy}")


def most_tokens(own: int | None, sample: Mapping, setting: str) -> int:
    """The most tokens of a text: the transform's ``own`` number or the dataset's; ``ValueError`` where there is none."""
    found = own or sample["max_seq_len"]
    if found < 1:
        raise ValueError(
            f"{setting} is not set, the most tokens of a text: set it in the transform, in "
            "train_dataloader.batch_sampler.schedules or, for evaluation, by dataset.max_seq_len"
        )
    return found


@TRANSFORMS.register_module()
class PickCaption:
    """Draws one caption of the record: a captioner by its weight, then one of that captioner's texts, all alike.

    A caption that is empty, repeats another of the record (in upper or lower case) or loops is dropped and counted. Adds
    ``caption`` and ``captioner``; a record without a usable caption is a ``BadSample``.

    Args:
        weights: captioner -> weight, 0 where none is given; ``alt-2``, ``alt-3`` are further texts of ``alt``. None: the
            ``captioners`` of the source or, where it has none, all alike.
    """

    def __init__(self, *, weights: Weights | None = None) -> None:
        self.weights = None if weights is None else {str(name): float(weight) for name, weight in weights.items()}

    def check(self, source: Source) -> None:
        """``ValueError`` for a weight of a captioner that the source does not have, and for a source without captions."""
        check_captioned(source)
        check_captioners(self.weights, "PickCaption.weights", source)

    def __call__(self, sample: dict) -> dict:
        weights, setting = wanted(self.weights, "PickCaption.weights", sample.get("captioners"))
        usable, faults = _usable(sample["captions"], weights)
        unread = {name: why for name, why in sample.get("unread", {}).items() if faults.get(name) == "empty"}
        sample["counts"].update(f"{what} captions" for name, what in faults.items() if what != "unwanted" and name not in unread)
        if not usable:
            told = "" if weights is None else f" of the captioners {', '.join(weights)} ({setting})"
            found = {**faults, **unread, **sample.get("shared", {})}
            there = ", ".join(f"{name} ({what})" for name, what in found.items()) or "none at all"
            raise BadSample(f"{sample['id']}: no usable caption{told}; it has {there}")
        captioners = [_captioner(name, sample["captions"], weights) for name in usable]
        parts = [_weight(captioner, weights) / captioners.count(captioner) for captioner in captioners]
        drawn = sample["rng"].choice(len(parts), p=[part / math.fsum(parts) for part in parts])
        return {**sample, "caption": list(usable.values())[drawn], "captioner": captioners[drawn]}


def _usable(captions: Mapping[str, str], weights: Captioners) -> tuple[dict[str, str], dict[str, str]]:
    """Name -> clean text of the captions that may be drawn, and name -> what is wrong with the others."""
    usable: dict[str, str] = {}
    faults: dict[str, str] = {}
    seen: set[str] = set()
    for name, raw in captions.items():
        if _weight(_captioner(name, captions, weights), weights) == 0:
            faults[name] = "unwanted"
            continue
        text = cleaned(raw)
        if what := fault(text, seen):
            faults[name] = what
        else:
            usable[name] = text
            seen.add(text.casefold())
    return usable, faults


def _weight(captioner: str, weights: Captioners) -> float:
    return 1.0 if weights is None else weights.get(captioner, 0.0)


def _captioner(name: str, captions: Mapping[str, str], weights: Captioners) -> str:
    """``alt`` for ``alt-2`` beside an ``alt``; any other name is a captioner's own."""
    numbered = re.fullmatch(r"(.+)-\d+", name)
    further = numbered and numbered[1] in captions and name not in (weights or ())
    return numbered[1] if numbered and further else name


@TRANSFORMS.register_module()
class Tokenize:
    """The caption's ``tokens``, at most ``max_seq_len``; a caption that is longer is cut, ``truncated`` and counted.

    Args:
        tokenizer: name or folder (see :func:`~finevit.hub.tokenizers.load_tokenizer`); by default the text encoder's.
        max_seq_len: the most tokens; None: the dataset's ``max_seq_len``.
    """

    scheduled = ("max_seq_len",)

    def __init__(self, *, tokenizer: str = "", max_seq_len: PositiveInt | None = None) -> None:
        if not tokenizer:
            raise ValueError("Tokenize.tokenizer is not set: give model.text_encoder a tokenizer, or name one here")
        self.tokenizer, self.max_seq_len = load_tokenizer(tokenizer), max_seq_len

    def __call__(self, sample: dict) -> dict:
        limit = most_tokens(self.max_seq_len, sample, "Tokenize.max_seq_len")
        (tokens,), (truncated,) = self.tokenizer([sample["caption"]], limit)
        sample["counts"].update({"truncated": int(truncated)})
        return {**sample, "tokens": tokens, "truncated": bool(truncated), "max_seq_len": limit}
