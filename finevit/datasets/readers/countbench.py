"""CountBench: how many objects of a kind an image shows, two to ten of them (paper, evaluation of Stage III)."""

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from finevit.contracts import Question, Record
from finevit.registry import BENCHMARKS, DATASETS
from finevit.storage.regular import read_regular

from .annotations import parse_object
from .encodings import decode_text, text_lines
from .fields import field, short, shown, value
from .files import FileSource, Skipped, clean, existing, read
from .fixed import MAX_DOCUMENT, annotation_file, expecting, lacking, listed, load_json, usable

IMAGE_FIELDS = ("image", "image_path", "file_name")
"""Where an entry of JSON names its image; the first of these that it has."""
WORDING = "Which number is missing in this caption of the image: {caption}"
"""How is asked where the data brings no question."""
BLANK = "___"
_MOST = 1_000_000  # objects in an image
_WORDS = ("two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")


class Counted(NamedTuple):
    """One image, as bytes or as a file, and the question about it."""

    id: str
    image: bytes | Path
    question: Question


@BENCHMARKS.register_module(name="countbench")
@DATASETS.register_module()
class CountBench(FileSource):
    """CountBench as a Parquet file with the images in it (nielsr/countbench), or as JSON or JSON lines beside a folder of images.

    An entry has ``number``, its image, and ``question`` or ``text``, the caption. ``facts["questions"]`` has one of the task
    ``counting``. A caption says the number, so it is never shown: where there is no question, its number is blanked and asked for.
    The published Parquet file has images in 491 of its 540 rows.

    Args:
        annotations: the ``.parquet`` (which needs pyarrow), ``.json`` or ``.jsonl`` file.
        image_root: the folder that the paths of JSON entries start at; by default that of the file.
        questions: CountBenchQA's ``countbench_paired_questions.json``, whose places are the rows of the Parquet file.
    """

    task = "questions"

    def __init__(
        self, *, annotations: str | Path, image_root: str | Path | None = None, questions: str | Path | None = None
    ) -> None:
        path, root = annotation_file(annotations, image_root)
        skipped, rows = Skipped(), _with_questions(_rows(path), questions)
        self._counted = list(_counted(path, rows, root, skipped))
        if not self._counted:
            raise ValueError(f"annotations={str(annotations)!r} holds no usable entry: {skipped}; {root} holds {listed(root)}")
        ids = [entry.id for entry in self._counted]
        super().__init__(data_root=path, keys=ids, captioned=0, skipped=skipped, split="all", holdout=0.0)
        self._about = f"CountBench; {len(ids):,} images{lacking(skipped, len(rows))}"

    def record(self, row: int) -> Record:
        """The image, read from its file where there is one."""
        name, image, question = self._counted[row]
        data = image if isinstance(image, bytes) else read(image, name=name)
        return Record(id=name, image=data, facts={"questions": (question,)})


def _rows(path: Path) -> list[Any]:
    """The entries of a file; in place of a line that is no entry, what is wrong with it."""
    if path.suffix == ".parquet":
        return _parquet(path)
    if path.suffix == ".jsonl":
        return [_line(place, line) for place, line in enumerate(text_lines(_text(path)), start=1) if line.strip()]
    rows = load_json(path)
    if not isinstance(rows, list):
        raise ValueError(f"annotations={str(path)!r} must hold a list of entries, not {type(rows).__name__}")
    return rows


def _text(path: Path) -> str:
    with expecting(path, "text"):
        return decode_text(read_regular(path, max_bytes=MAX_DOCUMENT))


def _line(place: int, line: str) -> dict[str, Any] | ValueError:
    try:
        return parse_object(line)
    except ValueError as error:
        return ValueError(f"line {place}: {error}; correct or remove it")


def _parquet(path: Path) -> list[dict[str, Any]]:
    try:
        from pyarrow import parquet
    except ImportError:
        raise ValueError(f"annotations={str(path)!r}: Parquet files need pyarrow; run `pip install pyarrow`") from None
    try:
        return parquet.read_table(path).to_pylist()
    except Exception as error:  # of many types, not all of them pyarrow's
        raise ValueError(f"{path} is no Parquet file that pyarrow can read ({error}); fetch it again") from None


def _with_questions(rows: list[Any], questions: str | Path | None) -> list[Any]:
    if questions is None:
        return rows
    asked = load_json(existing(questions, setting="questions"))
    if not isinstance(asked, list) or not all(isinstance(item, dict) and "question" in item for item in asked):
        raise ValueError(f"questions={str(questions)!r} must hold a list of objects with a 'question'; fetch it again")
    if len(asked) != len(rows):
        raise ValueError(
            f"questions={str(questions)!r} has {len(asked):,} questions for {len(rows):,} rows; give the file that fits"
        )
    name = Path(questions).name
    return [_asked(row, item, f"row {place}: {name}") for place, (row, item) in enumerate(zip(rows, asked, strict=True))]


def _asked(row: Any, item: Mapping[str, Any], where: str) -> Any:
    """A row with its question, if both are what they should be; else what is wrong."""
    try:
        return {**row, "question": field(item, "question", str)} if isinstance(row, dict) else row
    except ValueError as error:
        return ValueError(f"{where}: {error}")


def _counted(path: Path, rows: Sequence[Any], root: Path, skipped: Skipped) -> Iterator[Counted]:
    """The entries that can be used; the others are noted in ``skipped``."""

    def counted(placed: tuple[int, Mapping[str, Any]]) -> Counted:
        place, row = placed
        number, image = _number(value(row, "number")), _image(row, root)
        text = clean(field(row, "question", str, "")) or _blanked(field(row, "text", str), number)
        if image is None or (isinstance(image, Path) and not os.path.isfile(image)):
            raise ValueError(f"{image or 'its image'} is missing")
        if not text:
            raise ValueError(f"its caption {short(row['text'])} does not say {short(number)}; give a question")
        return Counted(str(place), image, Question(task="counting", text=text, answer=str(number)))

    for row in rows:
        if isinstance(row, ValueError):
            skipped.add(f"{path.name}: {row}")
    named = [(f"row {place}", (place, row)) for place, row in enumerate(rows) if not isinstance(row, ValueError)]
    return usable(named, counted, skipped, path=path, of="images", what="an image with number, and with question or text")


def _number(found: object) -> int:
    if isinstance(found, str) and re.fullmatch("[0-9]{1,6}", found):
        return int(found)
    if isinstance(found, int | float) and not isinstance(found, bool) and 0 <= found <= _MOST and found == int(found):
        return int(found)
    raise ValueError(f"number is {short(found)}; write a whole number")


def _image(row: Mapping[str, Any], root: Path) -> bytes | Path | None:
    image = next((row[name] for name in IMAGE_FIELDS if row.get(name)), None)
    data = image.get("bytes") if isinstance(image, dict) else None
    if not isinstance(data, bytes | None):
        raise ValueError(f"the bytes of its image are {type(data).__name__}; give the path of a file")
    if not isinstance(image, dict | str | None):
        raise ValueError(f"its image is {shown(image)}; give the path of a file")
    return root / image if isinstance(image, str) else data


def _blanked(caption: str, number: int) -> str:
    """The question for the number that a caption says, in digits or as a word; empty where it does not say it."""
    said = "|".join([str(number), *_WORDS[number - 2 : number - 1]]) if number > 1 else str(number)
    blanked, found = re.subn(rf"\b(?:{said})\b", BLANK, clean(caption), flags=re.IGNORECASE)
    return WORDING.format(caption=blanked) if found else ""
