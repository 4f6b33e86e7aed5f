"""Questions and answers as LLaVA (``conversations``) and Qwen (``messages``) have them, with boxes as text in a named style."""

import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from finevit.boxes import check_style, filled, lifted, parse
from finevit.contracts import BadSample, Question, Source
from finevit.datasets.readers.annotations import DIALOGUES, parse_object, size_of
from finevit.datasets.readers.fields import short
from finevit.datasets.readers.files import Skipped, existing, header_of
from finevit.datasets.readers.fixed import load_json, numbered, usable
from finevit.hub.chat_templates import PLACEHOLDER
from finevit.registry import SHARD_FORMATS

from .base import Entries, Entry, ShardFormat, Stored, count_left, put, stored

_ASKS, _ANSWERS = ("human", "user"), ("gpt", "assistant")
_QWEN = "<|box_start|>"
_WHAT = "an object with an image and conversations or messages"
_ALL = 10_000


@SHARD_FORMATS.register_module(name="conversations")
class Conversations(ShardFormat):
    """A ``.json`` list or ``.jsonl`` lines. In shards, texts have ``<box_0>`` in place of boxes, so that any style can be written;
    of a style in pixels, these are those of the entry's ``width`` and ``height``, or else of the upright image."""

    def records(self, path: Path, *, images: Path | None, style: str) -> Source:
        """One record for each entry about one image; its questions are in ``facts["questions"]``, of the task ``free``."""
        check_style(style)
        path = existing(path, setting="PATH")
        if not path.is_file():
            raise ValueError(f"{path} is a folder; give the .json or .jsonl file of conversations")
        root = existing(images, setting="--images") if images else path.parent
        skipped, counts = Skipped(), Counter[str]()

        def entry(each: tuple[str, Any]) -> Entry:
            return _entry(each[0], each[1], root, style, counts)

        named = ((name, (name, each)) for name, each in _listed(path))
        entries = list(usable(named, entry, skipped, path=path, of="entries", what=_WHAT))
        told = [f"{counts.pop('boxes', 0):,} boxes in the texts are of the style {style}, all other numbers stay as they are"]
        told += [f"{count:,} {what}" for what, count in counts.items()]
        return Entries(data_root=path, images=root, entries=_apart(entries), skipped=skipped, told=told)

    def write(self, source: Source, out: Path, *, style: str, advance: Callable[[], object]) -> Counter[str]:
        """``conversations.json`` and ``images/``. A record that has questions gives these; another those of Stage III, each in its
        first wording: the caption, and of each region that can be told apart what it is, where it is and what is written there."""
        check_style(style)
        left_out, entries = Counter[str](), list[dict]()
        for item in stored(source, left_out, advance):
            own = item.record.facts.get("questions")
            count_left(item.record, left_out, known={"questions"} if own else {"captions", "regions", "facts"})
            turns = list(_recorded(item, own, style, left_out) if own else _asked(item, style, left_out))
            if not turns:
                left_out["images of which nothing can be asked"] += 1
                continue
            put(out / "images" / item.file, item.data)
            told = {"id": item.record.id, "image": f"images/{item.file}", "width": item.width, "height": item.height}
            entries.append({**told, "conversations": list(_said(turns))})
        put(out / "conversations.json", json.dumps(entries, ensure_ascii=False, indent=1).encode())
        return left_out


def _listed(path: Path) -> Iterator[tuple[str, Any]]:
    """The entries of a file with what messages call them."""
    if path.suffix.lower() == ".json":
        content = load_json(path)
        if not isinstance(content, list):
            raise ValueError(f"{path} must hold a list of entries, not {type(content).__name__}")
        yield from numbered("entry", content)
        return
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            if line.strip():
                yield f"line {number}", line


def _entry(place: str, given: Any, root: Path, style: str, counts: Counter[str]) -> Entry:
    """The record of an entry; ``ValueError`` says why it cannot be one."""
    entry: Mapping[str, Any] = parse_object(given) if isinstance(given, bytes) else given
    image = entry.get("image", entry.get("images"))
    image = image[0] if isinstance(image, list) and len(image) == 1 else image
    if not isinstance(image, str) or not image:
        told = f"{len(image)} images" if isinstance(image, list) else "no image"
        raise ValueError(f"it has {told}; entries about one image are read")
    turns = next((entry[name] for name in DIALOGUES if entry.get(name)), None)
    if not isinstance(turns, list):
        raise ValueError(f"it has no list of {' or '.join(DIALOGUES)}")
    size = (size_of(entry) or _size(root / image)) if check_style(style).units == 0 else (0, 0)
    questions = tuple(_questions(turns, style, size, counts))
    if not questions:
        raise ValueError("it has no question with an answer")
    return Entry(str(entry.get("id", f"{place} ({image})")), image, facts={"questions": questions})


def _apart(entries: list[Entry]) -> list[Entry]:
    """Several entries of one id get numbers, so that each is a record."""
    seen = Counter[str]()
    for entry in entries:
        seen[entry.id] += 1
        if seen[entry.id] > 1:
            entry.id = f"{entry.id}-{seen[entry.id]}"
    return entries


def _size(path: Path) -> tuple[int, int]:
    if not (found := header_of(path)):
        raise ValueError(f"{path.name} does not tell its size, which boxes in pixels need; give the entry width and height")
    return found.upright


def _questions(turns: list, style: str, size: tuple[int, int], counts: Counter[str]) -> Iterator[Question]:
    """Each question with the answer that follows it."""
    asked = ""
    for turn in turns:
        who, text = _turn(turn)
        if who in _ASKS:
            counts["questions without an answer"] += bool(asked)
            asked = text.replace(PLACEHOLDER, "").strip()
        elif who in _ANSWERS and asked and text.strip():
            question, boxes = lifted(asked, style, size)
            answer, others = lifted(text.strip(), style, size, first=len(boxes))
            counts["boxes"] += len(boxes) + len(others)
            counts[f"texts with {_QWEN}, which stays as it is"] += _QWEN in asked + text
            yield Question("free", question, answer, (*boxes, *others))
            asked = ""
        else:
            counts["turns that are neither a question nor its answer"] += 1
    counts["questions without an answer"] += bool(asked)
    for what in [what for what, count in counts.items() if not count]:
        del counts[what]


def _turn(turn: Any) -> tuple[str, str]:
    """Who speaks, and what, of either layout."""
    if not isinstance(turn, Mapping):
        raise ValueError(f"a turn is {short(turn)}, no object")
    who, text = turn.get("from", turn.get("role")), turn.get("value", turn.get("content"))
    if isinstance(text, list):
        text = " ".join(part.get("text", "") for part in text if isinstance(part, Mapping) and part.get("type") == "text")
    if not isinstance(who, str) or not isinstance(text, str):
        raise ValueError(f"a turn has from={short(who)} and value={short(text)}, not two texts")
    return who, text


def _recorded(item: Stored, questions: Any, style: str, left_out: Counter[str]) -> Iterator[tuple[str, str]]:
    size = (item.height, item.width)
    for question in questions:
        text, answer = (filled(said, question.boxes, style, size) for said in (question.text, question.answer))
        if len(parse(text + "\n" + answer, style, size)) < len(question.boxes):
            left_out[f"questions with boxes that {style} cannot write"] += 1
        else:
            yield text, answer


def _asked(item: Stored, style: str, left_out: Counter[str]) -> Iterator[tuple[str, str]]:
    """The questions of Stage III about a record."""
    from finevit.datasets.transforms.dialogue_transforms import AskQuestions

    record, counts = item.record, Counter[str]()
    image = np.broadcast_to(np.uint8(0), (item.height, item.width, 3))  # of which the size alone is looked at
    told = {"regions": (*record.regions, *record.unplaced), "captions": record.captions, "facts": record.facts, "counts": counts}
    try:
        sample = AskQuestions(style=style, max_questions=_ALL, draw=False)({"id": record.id, "image": image, "rng": None, **told})
    except BadSample:
        return
    finally:
        left_out.update(counts)
    left_out["captions"] += max(0, len(record.captions) - 1)
    yield from ((question.text, question.answer) for question in sample["questions"])


def _said(turns: list[tuple[str, str]]) -> Iterator[dict[str, str]]:
    for place, (question, answer) in enumerate(turns):
        yield {"from": "human", "value": question if place else f"{PLACEHOLDER}\n{question}"}
        yield {"from": "gpt", "value": answer}
