"""Phrases as tokens of a detector's text, and scores of tokens as boxes of phrases: pure functions.

A detector's own names for its boxes join tokens that are near the threshold, and differ from what was asked for. Here a phrase is
what stands in its own span of tokens: ``container`` and ``container number`` are two.
"""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

NEARLY = 0.8
"""A phrase fits a box nearly as well as the best one where it scores this share of it."""

STRONGEST = 4
"""So many tokens of a phrase count: the others of a sentence join its words."""


class Chunk(NamedTuple):
    """One text of a detector: the tokens, and of each phrase its number and its span of tokens, end exclusive."""

    tokens: tuple[int, ...]
    phrases: tuple[int, ...]
    spans: tuple[tuple[int, int], ...]


class Marks(NamedTuple):
    """The tokens around phrases: ``begin phrase stop phrase stop end pad pad``."""

    begin: int
    stop: int
    end: int
    pad: int


def chunked(phrases: Sequence[Sequence[int]], marks: Marks, *, most: int, length: int) -> tuple[list[Chunk], list[int]]:
    """Texts of at most ``most`` phrases and exactly ``length`` tokens, in order; and the numbers of the phrases that fit into none:
    those that are too long by themselves, or have no tokens."""
    chunks, left_out, open_ = list[Chunk](), list[int](), list[int]()
    used = 2
    for number, tokens in enumerate(phrases):
        if not tokens or len(tokens) + 3 > length:
            left_out.append(number)
            continue
        if open_ and (len(open_) == most or used + len(tokens) + 1 > length):
            chunks.append(_chunk(open_, phrases, marks, length))
            open_, used = [], 2
        open_.append(number)
        used += len(tokens) + 1
    return [*chunks, *([_chunk(open_, phrases, marks, length)] if open_ else [])], left_out


def _chunk(numbers: Sequence[int], phrases: Sequence[Sequence[int]], marks: Marks, length: int) -> Chunk:
    tokens, spans = [marks.begin], []
    for number in numbers:
        spans.append((len(tokens), len(tokens) + len(phrases[number])))
        tokens += [*phrases[number], marks.stop]
    tokens.append(marks.end)
    return Chunk((*tokens, *[marks.pad] * (length - len(tokens))), tuple(numbers), tuple(spans))


def span_scores(logits: Tensor, spans: Sequence[tuple[int, int]]) -> Tensor:
    """Logits of tokens ``[boxes, tokens]`` -> scores of phrases ``[boxes, phrases]``: the mean probability over a phrase's own
    tokens, as Grounding DINO is evaluated; over the strongest of them where there are many, as in the caption of a region."""
    chances = logits.float().sigmoid()
    own = (chances[:, begin:end] for begin, end in spans)
    return torch.stack([each.topk(min(STRONGEST, each.shape[1]), dim=1).values.mean(1) for each in own], dim=1)


def best_phrases(scores: Tensor, spans: Sequence[tuple[int, int]]) -> Tensor:
    """Of each box the column of its phrase: of those that score nearly as the best, the one of most tokens, as a box of a container
    number is one of a container by half its words."""
    nearly = scores >= NEARLY * scores.amax(dim=1, keepdim=True)
    lengths = torch.tensor([end - begin for begin, end in spans], device=scores.device)
    longest = (nearly * lengths).amax(dim=1, keepdim=True)
    return scores.masked_fill(~nearly | (lengths != longest), -1.0).argmax(dim=1)


def found(scores: Tensor, which: Tensor, boxes: Tensor, phrases: Sequence[int], threshold: float) -> list[dict[str, Any]]:
    """What a grounder answers: each box with its phrase, the column ``which [boxes]`` of ``scores [boxes, phrases]``, where that is
    at least ``threshold``. ``boxes [boxes, 4]`` are centre, width and height in [0, 1]; they are cut at the border, and those
    that lie outside are none."""
    centre, half = boxes[:, :2].float(), boxes[:, 2:].float() / 2
    corners = torch.cat([centre - half, centre + half], dim=1).clamp(0, 1)
    best = scores.gather(1, which[:, None])[:, 0]
    answers = []
    for row in (best >= threshold).nonzero().flatten().tolist():
        x1, y1, x2, y2 = sides = [round(side, 6) for side in corners[row].tolist()]
        if x1 < x2 and y1 < y2:
            answers.append({"phrase": phrases[int(which[row])], "box": sides, "score": round(float(best[row]), 6)})
    return answers


def in_order(answers: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """By phrase, the best first."""
    return sorted(answers, key=lambda each: (each["phrase"], -each["score"], each["box"]))
