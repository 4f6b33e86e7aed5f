"""RefCOCO, RefCOCO+ and RefCOCOg: where is what an expression means (paper, evaluation of Stage III)."""

import pickle
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from finevit.contracts import Question
from finevit.datasets.decoding.frames import said, turned
from finevit.registry import BENCHMARKS, DATASETS
from finevit.storage.regular import open_regular
from finevit.suggest import did_you_mean

from .fields import field, key_of, short, value
from .files import Skipped, clean, existing
from .fixed import Entry, FixedSet, by_image, listed, numbered, usable
from .instances import Instances, by_id

USUAL = ("unc", "umd", "google")
"""Whose division into splits is taken where none is named: each set is reported with the first of these that it has."""
REFERENCE = "a reference with split, ann_id and sentences"


@BENCHMARKS.register_module(name=["refcoco", "refcoco+", "refcocog"])
@DATASETS.register_module()
class RefCOCO(FixedSet):
    """A folder of refer's, with ``refs(unc).p`` and ``instances.json``; ``facts["questions"]`` has one for each expression.

    Questions are of the task ``text2box``: ``text`` is the expression alone, ``answer`` empty, and ``boxes`` the one true box,
    canonical. An expression without words or without a possible box is left out and named. The transform of the evaluation words
    the question and renders the box in a style.

    Args:
        data_root: the folder of ``refcoco``, ``refcoco+`` or ``refcocog``.
        image_root: the folder of ``COCO_train2014_*.jpg``; by default ``train2014`` in ``data_root``, or else that itself.
        split: ``val``, ``testA`` (people), ``testB`` (other objects), or ``val`` and ``test`` of RefCOCOg.
        split_by: who divided the set: ``unc``, ``umd`` or ``google``; by default the first of these whose file is there.
    """

    task = "questions"

    def __init__(
        self, *, data_root: str | Path, image_root: str | Path | None = None, split: str = "val", split_by: str | None = None
    ) -> None:
        root = existing(data_root)
        path, images = _file(root, split_by), _images(root) if image_root is None else existing(image_root, setting="image_root")
        skipped, references = Skipped(), load_pickle(path)
        if not isinstance(references, list):
            raise ValueError(f"{path} must hold a list of references, not {type(references).__name__}")
        found = list(usable(numbered("reference", references), _split, skipped, path=path, of="references", what=REFERENCE))
        if not found:
            raise ValueError(f"{path} holds no usable entry: {skipped}")
        splits = sorted(dict(found))
        if split not in splits:
            raise ValueError(f"split={split!r} is not in {path}{did_you_mean(split, splits)}; it has {', '.join(splits)}")
        instances = Instances(root / "instances.json", images)
        chosen = [
            (name, one) for name, one in numbered("reference", references) if isinstance(one, Mapping) and one.get("split") == split
        ]
        asked = list(_questions(chosen, instances, skipped, path))
        entries, turns = by_image(asked), instances.turns(dict(asked), skipped)
        about = f"{path.name}, split {split!r}, {len(asked):,} expressions{said(turns.values())}"
        entries = [_upright(entry, instances.paths[entry.id], turns[entry.id]) for entry in entries if entry.id in turns]
        super().__init__(origin=path, image_root=images, setting="image_root", entries=entries, about=about, skipped=skipped)


def _upright(entry: Entry, path: str, turn: int) -> Entry:
    """The image at its path, with boxes upright as it is."""
    asked = (question._replace(boxes=tuple(turned(box, turn) for box in question.boxes)) for question in entry.facts["questions"])  # type: ignore[attr-defined]
    return entry._replace(image=path, facts={"questions": tuple(asked)})


class _Plain(pickle.Unpickler):
    """Reads lists, dicts, strings and numbers, NumPy's among them; a pickle that names anything else could run any code."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("_codecs", "encode"):  # how Python 3 writes bytes for Python 2
            return lambda text, _: text.encode("latin-1")
        if module.split(".")[0] == "numpy" and name in ("scalar", "dtype"):
            return _number if name == "scalar" else _Kind
        raise pickle.UnpicklingError(f"it holds {module}.{name}, and only lists, dicts, strings and numbers are read")


class _Kind:
    """What a pickle says of NumPy's type of a number; nothing of NumPy is run."""

    def __init__(self, code: str, *_: object) -> None:
        self.code, self.order = code, "<"

    def __setstate__(self, state: Sequence[Any]) -> None:
        self.order = ">" if state[1] == ">" else "<"


def _number(kind: _Kind, data: bytes | str) -> int | float | bool:
    """A number as NumPy pickles it: its type, and its bytes."""
    if not re.fullmatch("[iufb][1248]", kind.code):
        raise pickle.UnpicklingError(f"it holds NumPy's {kind.code}, and of NumPy only numbers are read")
    data = data.encode("latin-1") if isinstance(data, str) else data
    return np.frombuffer(data, f"{kind.order}{kind.code}").item()


def load_pickle(path: Path) -> Any:
    """What a pickle of plain values holds; ``ValueError`` for any other, of which no code is run."""
    try:
        with open_regular(path) as file:
            return _Plain(file, encoding="utf-8", errors="replace").load()
    except OSError as error:
        raise ValueError(f"{path} cannot be read ({error.strerror}); check its permissions") from None
    except Exception as error:  # what a torn pickle raises is anybody's guess
        told = f" ({error})" if isinstance(error, pickle.UnpicklingError | EOFError | ValueError) else ""
        raise ValueError(f"{path} is not a pickle of plain values{told}; fetch it again, or write it with these alone") from None


def _questions(
    references: Iterable[tuple[str, Mapping]], instances: Instances, skipped: Skipped, path: Path
) -> Iterator[tuple[str, Question]]:
    """Image and question of every expression of the named references that can be asked; the others are noted."""
    objects, twice = by_id(instances.annotations)

    def question(expression: tuple[Mapping, Mapping]) -> tuple[str, Question]:
        reference, sentence = expression
        number = value(reference, "ann_id")
        if key_of(number) in twice:
            raise ValueError(f"instances.json has several annotations of the id {short(number)}")
        name, box = instances.located(_object(number, objects))
        if not (text := clean(field(sentence, "sent", str, ""))):
            raise ValueError(f"annotation {short(number)} has an expression without words")
        return name, Question(task="text2box", text=text, answer="", boxes=(box,))

    told = ((name, reference, reference.get("sentences")) for name, reference in references)
    each = (
        (name, reference, sentences if isinstance(sentences, list) and sentences else [{}]) for name, reference, sentences in told
    )
    expressions = ((name, (reference, sentence)) for name, reference, sentences in each for sentence in sentences)
    yield from usable(expressions, question, skipped, path=path, of="expressions", what=REFERENCE)


def _split(reference: Mapping) -> tuple[str, Mapping]:
    split = value(reference, "split")
    if not isinstance(split, str):
        raise ValueError(f"its split is {short(split)}")
    return split, reference


def _object(number: object, objects: Mapping[str, Mapping]) -> Mapping:
    """The annotation of that number."""
    if isinstance(number, list | tuple) or number in (None, -1):
        raise ValueError(f"ann_id is {short(number)}: expressions of several objects or of none (gRefCOCO) are not read")
    if key_of(number) not in objects:
        raise ValueError(f"annotation {short(number)} is not in instances.json")
    return objects[key_of(number)]


def _file(root: Path, split_by: str | None) -> Path:
    """The file of references; ``ValueError`` says what is there."""
    paths = [root / f"refs({name}).p" for name in ([split_by] if split_by else USUAL)]
    for path in paths:
        if path.is_file() and (root / "instances.json").is_file():
            return path
    wanted = " or ".join(path.name for path in paths)
    setting = f"data_root={str(root)!r}" + (f", split_by={split_by!r}" if split_by else "")
    raise ValueError(f"{setting}: looked for {wanted} and instances.json; the folder holds {listed(root)}")


def _images(root: Path) -> Path:
    return root / "train2014" if (root / "train2014").is_dir() else root
