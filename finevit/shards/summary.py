"""What a dataset holds, in numbers: images by verdict and reason, captions by captioner and status, regions by kind."""

from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow.compute as pc

from .files import read_table
from .manifest import Manifest, digest, folder_of, load

_SHOWN = 8


@dataclass
class Summary:
    """``words`` are those of the usable captions of each captioner, ``regions`` counts by kind and by whether they are kept."""

    images: Counter[str] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)
    captions: dict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    words: Counter[str] = field(default_factory=Counter)
    regions: Counter[tuple[str, bool]] = field(default_factory=Counter)
    questions: int = 0
    pixels: float = 0.0


def summarise(folder: str | Path) -> Summary:
    """Of a folder or one of its manifests; reads the tables, not the pixels."""
    root, found = folder_of(folder), Summary()
    for shard in load(folder).shards:
        for kind, entry in shard.files.items():
            if kind in _ADD:
                _ADD[kind](found, read_table(root / entry.path))
    return found


def _add_images(found: Summary, table) -> None:
    found.images.update(table["verdict"].to_pylist())
    found.reasons.update((reasons[0]).partition(":")[0] for reasons in table["reasons"].to_pylist() if reasons)
    area = pc.sum(pc.multiply(table["width"].cast("float64"), table["height"].cast("float64"))).as_py()
    found.pixels += area or 0.0


def _add_captions(found: Summary, table) -> None:
    for row in table.select(["captioner", "status", "text"]).to_pylist():
        found.captions[row["captioner"]][row["status"]] += 1
        if row["status"] in ("ok", "given"):
            found.words[row["captioner"]] += len((row["text"] or "").split())


def _add_regions(found: Summary, table) -> None:
    found.regions.update(zip(table["kind"].to_pylist(), table["kept"].to_pylist(), strict=True))


def _add_questions(found: Summary, table) -> None:
    found.questions += len(table)


_ADD = {"images": _add_images, "captions": _add_captions, "regions": _add_regions, "qa": _add_questions}


def rows(manifest: Manifest, found: Summary) -> list[tuple[str, str]]:
    """Names and values for people."""
    size = sum(entry.bytes for shard in manifest.shards for entry in shard.files.values())
    total = sum(found.images.values())
    said = [
        ("manifest", digest(manifest)[:12] + (f", after {manifest.parent[:12]}" if manifest.parent else "")),
        ("made by", ", ".join(filter(None, (manifest.code_version, str(manifest.facts.get("source", "")))))),
        ("size", f"{len(manifest.shards):,} shards, {size / 1e6:,.1f} MB"),
        ("images", f"{total:,}: {_counted(found.images)}" + (f" ({_counted(found.reasons)})" if found.reasons else "")),
    ]
    said += [(f"captions of {name}", _captions(counts, found.words[name])) for name, counts in sorted(found.captions.items())]
    for kind in sorted({kind for kind, _ in found.regions}):
        kept, gone = found.regions[kind, True], found.regions[kind, False]
        said.append((f"regions: {kind}", f"{kept:,} kept, {gone:,} not"))
    said += [("questions", f"{found.questions:,}")] if found.questions else []
    return [pair for pair in said if pair[1]]


def _captions(counts: Counter[str], words: int) -> str:
    usable = counts["ok"] + counts["given"]
    return _counted(counts) + (f"; {words / usable:.1f} words each" if usable else "")


def _counted(counts: Mapping[str, int]) -> str:
    found = Counter(counts).most_common()
    more = sum(count for _, count in found[_SHOWN:])
    return ", ".join(f"{count:,} {name}" for name, count in found[:_SHOWN]) + (f", {more:,} others" if more else "")
