"""What a dataset is like in numbers: of each shard by itself, so that those of all are sums, whatever the size of the run.

The numbers of a shard are nested counts as plain JSON, in the note of its last pass. ``EXAMPLES`` holds, of each thing that occurs,
the place of the first image that has it.
"""

import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from itertools import accumulate
from typing import Any

import numpy as np
import pyarrow as pa

from finevit.recaption.contracts import OK
from finevit.recaption.passes.index import n_tokens
from finevit.shards.schema import GIVEN, REJECTED

SOURCE, GLOBAL, LOCAL = "source captions", "global captions", "local captions"
LINES = {"text_line": "text lines", "document": "document lines"}
PAPER: Mapping[str, tuple[int, float]] = {
    GLOBAL: (63_000_000, 211),
    LOCAL: (226_000_000, 57),
    LINES["text_line"]: (142_000_000, 3.9),
    LINES["document"]: (86_000_000, 4.3),
}
"""How many there are in FineCap-450M, and of how many tokens."""
PAPER_FILTERED = 0.03
EXAMPLES = "examples"
SIDES, ASPECTS = 0.05, 0.5
"""Widths of bins: of the square root of a box's share of its image, and of the logarithm to base 2 of width over height."""
Numbers = dict[str, Any]


def numbers_of(tables: Mapping[str, pa.Table]) -> Numbers:
    """Of the tables of a shard."""
    images = tables["images"].select(["sample_id", "verdict", "reasons", "kind", "width", "height"]).to_pylist()
    captions = tables["captions"].select(["sample_id", "status", "text", "n_tokens"]).to_pylist()
    columns = ["sample_id", "kind", "kept", "status", "class_name", "local_caption", "ocr_text", "replaced_caption", "reasons"]
    regions = tables["regions"].select(columns).to_pylist()
    found: Numbers = {
        "images": Counter(row["verdict"] for row in images) + Counter(row["kind"] for row in images if row["verdict"] != REJECTED),
        "lengths": _lengths(captions, regions),
        "classes": _classes(regions),
        "boxes": _boxes(tables["regions"], {row["sample_id"]: row["width"] / row["height"] for row in images if row["height"]}),
        "quotes": _quotes(captions, regions),
        EXAMPLES: dict(_examples(images, captions, regions)),
    }
    return _plain(found)


def merged(numbers: Iterable[tuple[str, Numbers]]) -> Numbers:
    """Of all shards, which come with their names; an example is a shard and a place in it."""
    total: Numbers = {}
    for shard, each in numbers:
        for label, place in each[EXAMPLES].items():
            total.setdefault(EXAMPLES, {}).setdefault(label, [shard, place])
        _add(total, {name: value for name, value in each.items() if name != EXAMPLES})
    return total


def summary(numbers: Numbers) -> Numbers:
    """The numbers with counts, means and quantiles of all lengths, and the paper's own beside them, for ``statistics.json``."""
    lengths = {
        name: {**describe(histogram), **_paper(name), "histogram": dict(sorted(histogram.items(), key=lambda each: int(each[0])))}
        for name, histogram in numbers.get("lengths", {}).items()
    }
    told = {name: value for name, value in numbers.items() if name not in ("lengths", EXAMPLES)}
    return {**told, "lengths": lengths, "filtered": {"share": filtered(numbers), "paper": PAPER_FILTERED}}


def describe(histogram: Mapping[str, int]) -> dict[str, float]:
    """How many, mean, median and the value that 95 % do not exceed; values are whole numbers."""
    pairs = sorted((int(value), count) for value, count in histogram.items())
    total = sum(count for _, count in pairs)
    if not total:
        return {"count": 0}
    sums = list(accumulate(count for _, count in pairs))
    median, most = (next(pair[0] for pair, sum_ in zip(pairs, sums, strict=True) if sum_ >= share * total) for share in (0.5, 0.95))
    return {"count": total, "mean": sum(value * count for value, count in pairs) / total, "median": median, "p95": most}


def filtered(numbers: Numbers) -> float:
    """The share of the images that is rejected."""
    images = numbers.get("images", {})
    both = images.get("kept", 0) + images.get(REJECTED, 0)
    return images.get(REJECTED, 0) / both if both else 0.0


def beside_paper(numbers: Numbers) -> list[list[str]]:
    """Header and rows: numbers of this run and the paper's."""
    rows = [["", "this run", "mean tokens", "median", "95 %", "paper", "its mean"]]
    for name in (SOURCE, *PAPER):
        told = describe(numbers.get("lengths", {}).get(name, {}))
        own = [f"{told['count']:,}", *(f"{told[each]:.1f}" if each in told else "" for each in ("mean", "median", "p95"))]
        paper = [f"{PAPER[name][0] / 1e6:g} M", f"{PAPER[name][1]:g}"] if name in PAPER else ["", ""]
        rows.append([name, *own, *paper])
    share = f"{100 * filtered(numbers):.1f} %" if numbers else "-"
    return [*rows, ["images rejected", share, "", "", "", f"about {100 * PAPER_FILTERED:g} %", ""]]


def _paper(name: str) -> Numbers:
    return {"paper": dict(zip(("count", "mean"), PAPER[name], strict=True))} if name in PAPER else {}


def _lengths(captions: list[dict], regions: list[dict]) -> dict[str, Counter[int]]:
    lengths = {name: Counter[int]() for name in (SOURCE, *PAPER)}
    for row in captions:
        if row["status"] in (OK, GIVEN):
            lengths[GLOBAL if row["status"] == OK else SOURCE][row["n_tokens"]] += 1
    for row in regions:
        if row["kept"] and row["kind"] in LINES:
            lengths[LINES[row["kind"]]][n_tokens(row["ocr_text"] or "")] += 1
        elif row["kept"] and row["local_caption"]:
            lengths[LOCAL][n_tokens(row["local_caption"])] += 1
    return lengths


def _classes(regions: list[dict]) -> dict[str, Counter[str]]:
    """Regions of each class before and after sampling, and those that are kept in the end."""
    told = {"before sampling": Counter[str](), "after sampling": Counter[str](), "kept": Counter[str]()}
    for row in regions:
        if row["kind"] == "object" and row["class_name"]:
            why = row["reasons"][0].partition(":")[0] if row["reasons"] else ""
            told["before sampling"][row["class_name"]] += why in ("", "sampled", "unconfirmed")
            told["after sampling"][row["class_name"]] += why in ("", "unconfirmed")
            told["kept"][row["class_name"]] += row["kept"]
    return told


def _boxes(regions: pa.Table, aspects: Mapping[str, float]) -> Numbers:
    """Sizes, shapes and numbers in an image of the boxes of objects, of all that were found and of those that are kept."""
    objects = np.array([kind == "object" for kind in regions["kind"].to_pylist()], bool)
    box = np.array(regions["bbox"].to_pylist(), np.float64).reshape(-1, 4)
    wide, high = box[:, 2] - box[:, 0], box[:, 3] - box[:, 1]
    samples = regions["sample_id"].to_pylist()
    shape = np.array([aspects.get(sample, 1.0) for sample in samples]) * wide / np.maximum(high, 1e-9)
    told: Numbers = {}
    for name, chosen in (("found", objects), ("kept", objects & np.array(regions["kept"].to_pylist(), bool))):
        solid = chosen & (wide > 0) & (high > 0)
        side = np.minimum(np.sqrt(wide[solid] * high[solid]) / SIDES + 1e-6, round(1 / SIDES) - 1).astype(int)
        aspect = np.clip(np.round(np.log2(shape[solid]) / ASPECTS), -8, 8).astype(int)
        per_image = Counter(sample for sample, is_so in zip(samples, chosen, strict=True) if is_so)
        told[name] = {"side": Counter(side.tolist()), "aspect": Counter(aspect.tolist()), "per_image": Counter(per_image.values())}
    return told


def _quotes(captions: list[dict], regions: list[dict]) -> Counter[str]:
    """Captions that quote text, and those among them whose quotes OCR did not read."""
    read: dict[str, str] = {}
    for row in regions:
        if row["kind"] in LINES:
            read[row["sample_id"]] = read.get(row["sample_id"], "") + _letters(row["ocr_text"] or "")
    told = Counter[str](captions=0, unread=0)
    for row in captions:
        if row["status"] == OK and (quotes := quoted(row["text"] or "")):
            told["captions"] += 1
            told["unread"] += any(_letters(quote) not in read.get(row["sample_id"], "") for quote in quotes)
    return told


def quoted(text: str) -> list[str]:
    """What stands in double quotation marks."""
    return [quote for pair in re.findall(r'"([^"]{1,200})"|“([^”]{1,200})”', text) for quote in pair if _letters(quote)]


def _letters(text: str) -> str:
    return "".join(letter for letter in text.casefold() if letter.isalnum())


def _examples(images: list[dict], captions: list[dict], regions: list[dict]) -> Iterator[tuple[str, int]]:
    """What occurs, with the place of the first image that has it."""
    found: dict[str, int] = {}
    places: dict[str, int] = {}
    for place, row in enumerate(images):
        if row["verdict"] == REJECTED:
            for reason in row["reasons"]:
                found.setdefault(f"{REJECTED}: {reason.partition(':')[0]}", place)
        else:
            places[row["sample_id"]] = place
            found.setdefault(row["kind"], place)
    for row in captions:
        if row["status"] not in (OK, GIVEN) and row["sample_id"] in places:
            found.setdefault(f"caption {row['status']}", places[row["sample_id"]])
    for row in regions:
        if row["sample_id"] in places and (row["replaced_caption"] is not None or row["status"] != OK):
            label = "replaced" if row["replaced_caption"] is not None else f"region {row['status']}"
            found.setdefault(label, places[row["sample_id"]])
    return iter(sorted(found.items()))


def _plain(value: Any) -> Any:
    """Counters as objects of JSON, whose names are texts; without what is not there."""
    if isinstance(value, Counter):
        return {str(name): int(count) for name, count in sorted(value.items()) if count}
    return {name: _plain(each) for name, each in value.items()} if isinstance(value, dict) else value


def _add(total: Numbers, more: Numbers) -> None:
    for name, value in more.items():
        if isinstance(value, dict):
            _add(total.setdefault(name, {}), value)
        else:
            total[name] = total.get(name, 0) + value


def shares(histogram: Mapping[str, int], *, width: float = 1.0, first: float = 0.0) -> tuple[list[float], list[float]]:
    """Places and shares of the bins of a histogram, also of empty ones between and beside them, for a line."""
    if not histogram:
        return [], []
    known = {int(name): count for name, count in histogram.items()}
    bins = range(min(known) - 1, max(known) + 2)
    total = sum(known.values())
    return [first + width * each for each in bins], [known.get(each, 0) / total for each in bins]


def bin_width(histograms: Iterable[Mapping[str, int]], *, bins: int = 40) -> int:
    """How wide bins are, of which at most so many hold all values."""
    most = max((int(value) for histogram in histograms for value in histogram), default=0)
    return max(1, math.ceil((most + 1) / bins))


def in_bins(histogram: Mapping[str, int], width: int) -> Mapping[str, int]:
    """A histogram of whole numbers in bins so wide."""
    told = Counter[str]()
    for value, count in histogram.items():
        told[str(int(value) // width)] += count
    return told
