"""What an OCR engine reads of drawn pages and scenes, through the pipeline: words, boxes, pages told from scenes."""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image
from pyarrow import parquet

from benchmarks.ocr.drawn import Drawn
from finevit.recaption.boxes import iou
from finevit.recaption.run import Watch, recaption
from finevit.shards import manifest

RIGHT = 0.5
"""IoU from which a box is that of a line."""


class Score(NamedTuple):
    """Of one image: words that there are, and that were read in the right line, the best IoU of each line, what it was taken for,
    and lines that were read where there is none."""

    group: str
    words: int
    read: int
    ious: tuple[float, ...]
    document: bool
    extra: int


def write(drawn: Sequence[Drawn], folder: Path) -> None:
    """The images as files whose names are their numbers."""
    folder.mkdir(parents=True)
    for number, each in enumerate(drawn):
        Image.fromarray(each.pixels).save(folder / f"{number:05d}.png")


def read(
    folder: Path, work_dir: Path, *, engine: Mapping[str, Any], executor: Mapping[str, Any]
) -> dict[int, tuple[list[dict], bool]]:
    """By number: the regions that the pipeline wrote, and whether it took the image for a document."""
    passes = {
        "index": {"type": "Index", "captions": False},
        "ocr": {"type": "OCR", "ocr": dict(engine)},
        "assemble": {"type": "Assemble"},
    }
    source = {"type": "ImageFolder", "data_root": str(folder), "holdout": 0}
    report = recaption({"source": source, "executor": dict(executor), "passes": passes}, work_dir, watch=Watch())
    if report.errors or report.partial:
        raise SystemExit(f"the run is not whole: {report.errors or report.partial}")
    tables: dict[str, list[dict]] = {"images": [], "regions": []}
    for shard in manifest.load(work_dir / "dataset").shards:
        for name, rows in tables.items():
            rows += parquet.read_table(work_dir / "dataset" / shard.files[name].path).to_pylist()
    numbers = {row["sample_id"]: (int(Path(row["source"]).stem), row["kind"] == "document") for row in tables["images"]}
    found: dict[int, tuple[list[dict], bool]] = {number: ([], document) for number, document in numbers.values()}
    for row in tables["regions"]:
        found[numbers[row["sample_id"]][0]][0].append(row)
    return found


def score(drawn: Drawn, regions: Sequence[dict], document: bool) -> Score:
    """A word counts once, in the text of the box that fits its line best, where that box is right."""
    high, wide = drawn.pixels.shape[:2]
    boxes = np.array([row["bbox"] for row in regions]).reshape(-1, 4) * (wide, high, wide, high)
    best = [iou(line.box, boxes) for line in drawn.lines]
    ious = tuple(float(each.max(initial=0)) for each in best)
    pairs = [
        (line, regions[int(each.argmax())]) for line, each in zip(drawn.lines, best, strict=True) if each.max(initial=0) >= RIGHT
    ]
    read = sum(_words(line.text, row["ocr_text"]) for line, row in pairs)
    words = sum(len(line.text.split()) for line in drawn.lines)
    return Score(drawn.group, words, read, ious, document, len(regions) - len(pairs))


def _words(text: str, found: str) -> int:
    return (Counter(text.split()) & Counter(found.split())).total()


def table(scores: Sequence[Score]) -> list[dict[str, Any]]:
    """A row for each group of images."""
    rows = []
    for group in dict.fromkeys(each.group for each in scores):
        own = [each for each in scores if each.group == group]
        ious = np.array([value for each in own for value in each.ious])
        words, read = (sum(getattr(each, name) for each in own) for name in ("words", "read"))
        row = {"images": group, "count": len(own), "lines": len(ious), "words": words, "recall": read / max(words, 1)}
        row |= {"right boxes": float(np.mean(ious >= RIGHT)), "median IoU": float(np.median(ious))}
        rows.append({**row, "taken for pages": sum(each.document for each in own), "other lines": sum(each.extra for each in own)})
    return rows
