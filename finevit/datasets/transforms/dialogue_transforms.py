"""From a record to dialogues about its image: questions drawn by task, worded, tokenised and packed (paper, Stage III)."""

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence, Set
from itertools import chain
from typing import Annotated, Any, Literal

import numpy as np
from annotated_types import Ge
from pydantic import PositiveInt

from finevit.boxes import check_style, fault_of_box, filled, has_places, legible, render
from finevit.contracts import PATCH, BadSample, Question, Record, Region
from finevit.datasets.transforms.caption_transforms import most_tokens
from finevit.datasets.transforms.image_transforms import image_of
from finevit.hub.chat_templates import PLACEHOLDER, load_chat
from finevit.ops.patches import MERGE
from finevit.packing.packs import IGNORE_INDEX, IMAGE_TOKEN
from finevit.registry import TRANSFORMS
from finevit.tasks.task import NOWHERE, Draft, Material, all_tasks, asked_tasks, check_weights, default_weights, drafts

TOO_LONG, TOO_THIN, IMPOSSIBLE = "questions too long", "boxes too thin for the style", "questions with impossible boxes"
UNASKED = (TOO_LONG, TOO_THIN, IMPOSSIBLE, NOWHERE)
"""Counts of what cannot be asked, with these settings or at all: an evaluation lacks it."""


@TRANSFORMS.register_module()
class AskQuestions:
    """Adds ``questions``: questions about the image, drawn by the weights of their tasks, with boxes rendered as text.

    Runs after every transform that moves boxes, and after ``ResizeToBudget``, whose size some styles refer to. The caption that
    ``PickCaption`` drew is the answer of ``global_caption``, without it the record's first. A record without any question is a
    ``BadSample``; questions left out are counted by reason.

    Args:
        task_weights: task -> weight, 0 where none is given.
        max_questions: the most questions of an image.
        style: how boxes are written, a name of ``finevit.boxes.STYLES``.
        ill_posed: what becomes of a phrase or string that fits several boxes: ``drop``, or ``answer`` with all of them.
        captions: whether regions are also looked for by their captions; an evaluation looks for them by their phrases alone.
        draw: False asks every question in order, in its first wording, at most ``max_questions`` a task: for evaluations.
    """

    scheduled = ("task_weights",)

    def __init__(
        self,
        *,
        task_weights: Annotated[Mapping[str, Any], "a weight for each task, as dict(text2box=1)"] | None = None,
        max_questions: Annotated[int, Ge(1), "a whole number of questions"] = 8,
        style: str = "norm1000",
        ill_posed: Literal["drop", "answer"] = "drop",
        captions: bool = True,
        draw: bool = True,
    ) -> None:
        self.task_weights = check_weights("AskQuestions.task_weights", default_weights() if task_weights is None else task_weights)
        check_style(style)
        self.max_questions, self.style, self.ill_posed, self.captions, self.draw = (
            max_questions,
            style,
            ill_posed,
            captions and draw,
            draw,
        )

    def __call__(self, sample: dict) -> dict:
        size = image_of(sample, self).shape[:2]
        drawn = self._drafts(sample, {task for task, weight in self.task_weights.items() if weight}, size)
        drawn = self._draw(drawn, sample["rng"]) if self.draw else _first(drawn, self.max_questions)
        if not drawn:
            raise BadSample(f"{sample['id']}: no question can be asked of it; it has {len(sample['regions'])} regions")
        return {**sample, "questions": [self._word(draft, size, sample["rng"]) for draft in drawn]}

    def tasks_of(self, record: Record) -> set[str]:
        """The tasks that a record has a question of, whatever the weights are; how thick its boxes are is not looked at."""
        caption = next(filter(str.strip, record.captions.values()), "")
        return {draft.task for draft in drafts(self._material(record.regions, caption, record.facts, np.random.default_rng(0)))}

    def _drafts(self, sample: dict, tasks: Set[str], size: tuple[int, int]) -> list[Draft]:
        """The well-posed questions of the tasks that this style can write; the others are counted."""
        caption = sample.get("caption") or next(iter(sample["captions"].values()), "")
        material = self._material(sample["regions"], caption, sample["facts"], sample["rng"])
        found = drafts(material, tasks)
        kept = [draft for draft in found if legible(draft.boxes, self.style, size)]
        sample["counts"].update(material.dropped + Counter({TOO_THIN: len(found) - len(kept)}))
        return kept

    def _material(self, regions: Sequence[Region], caption: str, facts: Mapping, rng: np.random.Generator) -> Material:
        answer_all, drawn = self.ill_posed == "answer", rng if self.draw else None
        return Material(regions, caption, facts, answer_all=answer_all, captions=self.captions, rng=drawn)

    def _draw(self, found: list[Draft], rng: np.random.Generator) -> list[Draft]:
        """A task by its weight, then one of its questions, none twice."""
        able = [name for name, task in asked_tasks().items() if task.weight or self.task_weights.get(name)]
        left = {task: [found[i] for i in rng.permutation(len(found)) if found[i].task == task] for task in able}
        drawn: list[Draft] = []
        while len(drawn) < self.max_questions and any(left.values()):
            tasks = [task for task in able if left[task]]
            shares = np.array([self.task_weights[task] for task in tasks])
            drawn.append(left[tasks[rng.choice(len(tasks), p=shares / shares.sum())]].pop())
        return drawn

    def _word(self, draft: Draft, size: tuple[int, int], rng: np.random.Generator) -> Question:
        """The question in words, its boxes in the style."""
        templates = all_tasks()[draft.task].templates
        template = templates[rng.integers(len(templates))] if self.draw else templates[0]
        boxes = render(draft.boxes, self.style, size) if draft.boxes else ""
        text = template.format(about=draft.about, box=boxes)
        return Question(draft.task, text, draft.answer or boxes, draft.boxes, (), self.style, size)


@TRANSFORMS.register_module()
class AskRecorded:
    """Adds ``questions``: the questions that an evaluation set brings along, in ``facts["questions"]``.

    Those for boxes are worded as in training, and their boxes rendered in the style that the model was trained with;
    boxes that the style cannot write are left out and counted. A placeholder for the image is taken out of the text, those for
    boxes (``<box_0>``) are filled.
    """

    def __init__(self, *, style: str = "norm1000") -> None:
        check_style(style)
        self.style = style

    def __call__(self, sample: dict) -> dict:
        questions: Sequence[Question] = sample["facts"].get("questions", ())
        if not questions:
            raise BadSample(f"{sample['id']}: brings no question along")
        size = image_of(sample, self).shape[:2]
        possible = [question for question in questions if not any(map(fault_of_box, question.boxes))]
        kept = [question for question in possible if not _writes_boxes(question) or legible(question.boxes, self.style, size)]
        sample["counts"].update(Counter({TOO_THIN: len(possible) - len(kept), IMPOSSIBLE: len(questions) - len(possible)}))
        if not kept:
            faults = "impossible, or too thin for the style"
            raise BadSample(f"{sample['id']}: brings no question along whose boxes {self.style} can write; they are {faults}")
        return {**sample, "questions": [self._worded(sample["id"], question, size) for question in kept]}

    def _worded(self, identity: str, question: Question, size: tuple[int, int]) -> Question:
        if question.text.count(PLACEHOLDER) > 1:
            raise BadSample(f"{identity}: {question.text.count(PLACEHOLDER)} times {PLACEHOLDER} in a question about one image")
        text = question.text.replace(PLACEHOLDER, "").strip()
        question = question._replace(text=text, style=self.style, size=size)
        if not (template := _template(question)):
            text, answer = (filled(said, question.boxes, self.style, size) for said in (question.text, question.answer))
            return question._replace(text=text, answer=answer)
        text = template.replace("{about}", text)
        return question._replace(text=text, answer=render(question.boxes, self.style, size))


def _writes_boxes(question: Question) -> bool:
    return bool(_template(question)) or has_places(question.text) or has_places(question.answer)


def _template(question: Question) -> str:
    """How a recorded question is asked whose answer is a box; "" for others, which stay as they are."""
    task = all_tasks().get(question.task)
    return task.templates[0] if task and task.answers_boxes and task.templates else ""


@TRANSFORMS.register_module()
class TokenizeDialogue:
    """After ``Patchify``: the token ids of ``questions`` around the places of the visual tokens, as one part of a pack.

    The image comes first, and a question is plain text whatever it says. One that does not fit into ``max_seq_len`` (visual tokens
    included) is left out and counted, an answer is never cut; where none fits, the record is a ``BadSample``.

    Args:
        tokenizer: name or folder of the language model's; the rule ``inherit_tokenizer`` fills in the model's own.
        together: whether all questions of an image share the length, as in training. Evaluations, where each is answered alone, say
            False: then only a question that does not fit by itself, with a token of an answer, is left out.
        max_seq_len: the most tokens of an image with its questions; None: the dataset's ``max_seq_len``.
    """

    scheduled = ("max_seq_len",)

    def __init__(self, *, tokenizer: str = "", together: bool = True, max_seq_len: PositiveInt | None = None) -> None:
        if not tokenizer:
            raise ValueError("TokenizeDialogue.tokenizer is not set: give model.llm a tokenizer, or name one here")
        self.chat, self.together = load_chat(tokenizer), together
        self.max_seq_len = max_seq_len

    def __call__(self, sample: dict) -> dict:
        limit = most_tokens(self.max_seq_len, sample, "TokenizeDialogue.max_seq_len")
        patch = math.isqrt(sample["patches"].shape[1] // 3) if "patches" in sample else PATCH
        prefix = [*self.chat.before, *[IMAGE_TOKEN] * visual_tokens(sample["shape"], patch=patch)]
        kept: list[Question] = []
        segments: list[list[tuple[int, int]]] = []
        for question in sample["questions"]:
            prompt, answer = self._turn(question)
            beside = sum(len(segment) for segment in segments) + len(answer) if self.together else 1
            if len(prefix) + beside + len(prompt) > limit:
                sample["counts"].update([TOO_LONG])
                continue
            kept.append(question)
            segments.append([(token, IGNORE_INDEX) for token in prompt] + [(token, token) for token in answer])
        if not kept:
            raise BadSample(
                f"{sample['id']}: no question fits into {limit} tokens, of which the image takes {len(prefix)}; "
                "it takes a shorter question, a smaller image or a longer TokenizeDialogue.max_seq_len"
            )
        return {**sample, "questions": kept, "dialogue": _part(prefix, segments)}

    def _turn(self, question: Question) -> tuple[list[int], list[int]]:
        """Ids of a question with what the template writes around it, and of its answer with the closing token."""
        asked = [*self.chat.encode(question.text.strip()), *self.chat.between]
        return asked, [*self.chat.encode(question.answer), self.chat.closing]


def visual_tokens(shape: tuple[int, int], *, patch: int) -> int:
    """Visual tokens of a grid of patches, which are ``patch`` pixels wide."""
    rows, cols = shape
    if rows % MERGE or cols % MERGE:
        raise ValueError(
            f"a grid of {rows} x {cols} patches cannot be merged {MERGE} x {MERGE}; "
            f"sides must be multiples of {MERGE * patch} pixels"
        )
    return rows * cols // MERGE**2


def _first(found: Iterable[Draft], number: int) -> list[Draft]:
    """The first questions of each task."""
    seen = Counter[str]()
    return [draft for draft in found if not seen.update([draft.task]) and seen[draft.task] <= number]


def _part(prefix: list[int], segments: list[list[tuple[int, int]]]) -> tuple[np.ndarray, ...]:
    """``tokens``, ``labels``, ``position_ids`` and ``segment_ids`` of one image's part."""
    ids, labels = zip(*chain.from_iterable(segments), strict=True)
    position_ids = [
        *range(len(prefix)),
        *chain.from_iterable(range(len(prefix), len(prefix) + len(segment)) for segment in segments),
    ]
    segment_ids = np.repeat(range(len(segments) + 1), [len(prefix), *map(len, segments)])
    return (
        np.array([*prefix, *ids], np.int64),
        np.array([IGNORE_INDEX] * len(prefix) + list(labels), np.int64),
        np.array(position_ids, np.int64),
        segment_ids.astype(np.int64),
    )
