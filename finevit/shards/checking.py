"""Whether a dataset is whole, and what in it is likely to mislead: each fault by name, each trap with a count."""

import hashlib
import os
import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from finevit.storage.regular import open_regular

from .files import FileEntry, read_table
from .manifest import FILE, KEPT, PIXELS, Manifest, Shard, digest, folder_of, load

LISTED = 20
"""So many faults are named, the others are counted."""
_SAME, _HEADER = 24, 512
_SLACK = 1e-3
"""Pixels by which float32 may miss a border."""
_WHOLE = 0.95
_QUOTED = re.compile(r"“([^”]+)”|\"([^\"]+)\"")
_EDGES = " .,;:!?…'‘’"
TRAPS = {
    "phrases": "phrases that match several boxes of their image",
    "strings": "strings that stand at several places of their image",
    "quotes": "captions that quote text which no region of their image has",
    "small": "boxes that are thinner than a patch of the stored image",
    "void": "boxes with x2 <= x1 or y2 <= y1 (not kept)",
    "full": f"boxes of more than {_WHOLE:.0%} of their image",
    "rejected": "annotations of images that are rejected",
    "spans": "phrases whose span spells another text",
    "unlisted": "files that no manifest lists",
}
"""What is counted, with how people call it."""


@dataclass
class Findings:
    """``faults`` are the first ones by name, ``count`` is how many there are; ``traps`` counts by the names in ``TRAPS``."""

    images: int = 0
    count: int = 0
    faults: list[str] = field(default_factory=list)
    traps: Counter[str] = field(default_factory=Counter)

    def fault(self, what: str, count: int = 1) -> None:
        """Something is not whole; ``count`` of nothing is none."""
        if count:
            self.count += count
            self.faults += [what] * (len(self.faults) < LISTED)


def check(folder: str | Path, *, patch: int = 14, advance: Callable[[], object] = lambda: None) -> Findings:
    """Looks at every byte of a dataset; ``advance`` is called after each shard. ``ValueError``: its manifest cannot be read."""
    root, findings, seen = folder_of(folder), Findings(), set[str]()
    manifest = load(folder)
    _check_manifest(root, manifest, findings)
    for shard in manifest.shards:
        _check_shard(root, shard, patch, findings, seen)
        advance()
    listed = {entry.path for each in _manifests(root, manifest) for shard in each.shards for entry in shard.files.values()}
    findings.traps["unlisted"] += sum(path.suffix in (".tar", ".parquet") and path.name not in listed for path in root.iterdir())
    return findings


def _manifests(root: Path, newest: Manifest) -> Iterator[Manifest]:
    yield newest
    yield from (load(path) for path in sorted((root / KEPT).glob("*.json")))


def _check_manifest(root: Path, manifest: Manifest, findings: Findings) -> None:
    """That it is kept under its own name, as those before it are."""
    for whose, name in (("its own copy", digest(manifest)), ("that of the manifest before", manifest.parent)):
        if name and not (root / KEPT / f"{name[:12]}.json").is_file():
            findings.fault(f"{FILE}: {whose}, {KEPT}/{name[:12]}.json, is missing")
    names = Counter(shard.name for shard in manifest.shards)
    for name in (name for name, count in names.items() if count > 1):
        findings.fault(f"{FILE}: several shards are called {name}")


def _check_shard(root: Path, shard: Shard, patch: int, findings: Findings, seen: set[str]) -> None:
    whole = {kind for kind, entry in shard.files.items() if _is_as_listed(root / entry.path, entry, findings)}
    tables = dict(_tables(root, shard, whole, findings))
    if "images" not in shard.files:
        findings.fault(f"shard {shard.name} has no table of images")
    if (images := tables.get("images")) is None:
        return
    findings.images += len(images)
    _check_images(shard, images, findings, seen)
    if PIXELS in whole:
        _check_pixels(root / shard.files[PIXELS].path, images, findings)
    for kind in tables.keys() - {"images"}:
        _check_joins(shard, kind, tables[kind], images, findings)
    if (regions := tables.get("regions")) is not None:
        _check_regions(shard, regions, images, patch, findings)
    if (captions := tables.get("captions")) is not None:
        findings.traps["quotes"] += _unread_quotes(captions, regions)
        findings.traps["spans"] += _odd_spans(tables["phrases"], captions) if "phrases" in tables else 0


def _is_as_listed(path: Path, entry: FileEntry, findings: Findings) -> bool:
    try:
        with open_regular(path) as file:
            size, found = os.fstat(file.fileno()).st_size, hashlib.file_digest(file, "sha256").hexdigest()  # type: ignore[arg-type]
    except OSError as error:
        findings.fault(f"{path.name} cannot be read ({error.strerror})")
        return False
    if (size, found) != (entry.bytes, entry.sha256):
        what = f"{size:,} bytes, not {entry.bytes:,}" if size != entry.bytes else f"SHA-256 {found[:12]}…, not {entry.sha256[:12]}…"
        findings.fault(f"{path.name} is damaged or another file: it has {what}")
    return (size, found) == (entry.bytes, entry.sha256)


def _tables(root: Path, shard: Shard, whole: set[str], findings: Findings) -> Iterator[tuple[str, pa.Table]]:
    for kind in sorted(whole - {PIXELS}):
        entry = shard.files[kind]
        try:
            table = read_table(root / entry.path)
        except ValueError as error:
            findings.fault(str(error))
            continue
        rows = {"the manifest": entry.rows, **({"its shard": shard.rows} if kind == "images" else {})}
        for who, number in rows.items():
            if number != len(table):
                findings.fault(f"{entry.path} has {len(table):,} rows, and {number:,} by {who}")
        yield kind, table


def _check_images(shard: Shard, images: pa.Table, findings: Findings, seen: set[str]) -> None:
    kept = images.filter(pc.equal(images["verdict"], "kept"))
    for identity in kept["sample_id"].to_pylist():
        if identity in seen:
            findings.fault(f"{shard.files['images'].path}: two kept images have the sample_id {identity}")
        seen.add(identity)
    for name in ("member", "offset", "size", "width", "height"):
        findings.fault(f"{shard.files['images'].path}: kept images without {name}", kept[name].null_count)


def _check_pixels(path: Path, images: pa.Table, findings: Findings) -> None:
    """That each image's member lies where the table says, and is what the id says."""
    stored = images.filter(pc.is_valid(images["member"])).select(["sample_id", "member", "offset", "size"])
    with open_regular(path) as file:
        for row in stored.to_pylist():
            file.seek(max(0, (row["offset"] or 0) - _HEADER))
            header, data = file.read(_HEADER), file.read(row["size"] or 0)
            if header[:100].rstrip(b"\0").decode(errors="replace") != row["member"]:
                findings.fault(f"{path.name}: {row['member']} does not lie at {row['offset']}")
            elif hashlib.sha256(data).hexdigest()[:_SAME] != row["sample_id"][:_SAME]:
                findings.fault(f"{path.name}: the bytes of {row['member']} have another SHA-256 than its sample_id says")


def _check_joins(shard: Shard, kind: str, table: pa.Table, images: pa.Table, findings: Findings) -> None:
    kept = images.filter(pc.equal(images["verdict"], "kept"))
    there, used = (pc.is_in(table["sample_id"], each["sample_id"].combine_chunks()) for each in (images, kept))
    lost = pc.sum(pc.invert(there)).as_py() or 0
    findings.fault(f"{shard.files[kind].path}: rows of images that are not in their shard", lost)
    findings.traps["rejected"] += (pc.sum(pc.invert(used)).as_py() or 0) - lost


def _check_regions(shard: Shard, regions: pa.Table, images: pa.Table, patch: int, findings: Findings) -> None:
    path = shard.files["regions"].path
    findings.fault(f"{path}: region_ids that come again", len(regions) - len(regions["region_id"].unique()))
    kept = regions["kept"].to_numpy().astype(bool)
    boxes = np.asarray(regions["bbox"].combine_chunks().flatten()).reshape(-1, 4)
    void = ~((boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1]))
    outside = ~((boxes >= 0) & (boxes <= 1)).all(axis=1)
    findings.fault(f"{path}: kept boxes that are none (x2 <= x1, y2 <= y1 or outside [0, 1])", int((kept & (void | outside)).sum()))
    findings.traps["void"] += int((~kept & void).sum())
    width, height = (_of_image(regions, images, side) for side in ("width", "height"))
    sides = np.stack([(boxes[:, 2] - boxes[:, 0]) * width, (boxes[:, 3] - boxes[:, 1]) * height])
    real = kept & ~void
    findings.traps["small"] += int((real & (sides.min(axis=0) < patch - _SLACK)).sum())
    findings.traps["full"] += int((real & (sides.prod(axis=0) > _WHOLE * width * height)).sum())
    for trap, column, kinds in (("phrases", "phrase", ("object",)), ("strings", "ocr_text", ("text_line",))):
        findings.traps[trap] += _repeated(regions.filter(pa.array(kept & _among(regions["kind"], kinds))), column)


def _among(column: pa.ChunkedArray, values: tuple[str, ...]) -> np.ndarray:
    return np.asarray(pc.is_in(column, pa.array(values)).to_numpy(zero_copy_only=False), bool)


def _of_image(regions: pa.Table, images: pa.Table, column: str) -> np.ndarray:
    """A number of each region's image; without end where it is not known."""
    places = pc.index_in(regions["sample_id"], value_set=images["sample_id"].combine_chunks())
    known = images[column].cast(pa.float64()).take(places)
    return np.asarray(pc.fill_null(known, float("inf")))


def _repeated(regions: pa.Table, column: str) -> int:
    """How many texts several regions of an image have, in upper or lower case."""
    texts = pc.utf8_lower(pc.fill_null(regions[column], ""))
    pairs = Counter(zip(regions["sample_id"].to_pylist(), texts.to_pylist(), strict=True))
    return sum(count > 1 for (_, text), count in pairs.items() if text)


def _unread_quotes(captions: pa.Table, regions: pa.Table | None) -> int:
    read: dict[str, str] = {}
    if regions is not None:
        told = regions.filter(pc.is_valid(regions["ocr_text"]))
        for identity, text in zip(told["sample_id"].to_pylist(), told["ocr_text"].to_pylist(), strict=True):
            read[identity] = f"{read.get(identity, '')}\n{_plain(text)}"
    usable = captions.filter(pc.is_in(captions["status"], pa.array(["ok", "given"])))
    texts = zip(usable["sample_id"].to_pylist(), usable["text"].to_pylist(), strict=True)
    return sum(any(quote not in read.get(identity, "") for quote in _quotes(text or "")) for identity, text in texts)


def _quotes(text: str) -> list[str]:
    found = (_plain(one or other) for one, other in _QUOTED.findall(text))
    return [quote for quote in found if quote]


def _plain(text: str) -> str:
    return " ".join(text.casefold().split()).strip(_EDGES)


def _odd_spans(phrases: pa.Table, captions: pa.Table) -> int:
    keys = zip(captions["sample_id"].to_pylist(), captions["captioner"].to_pylist(), strict=True)
    texts = dict(zip(keys, captions["text"].to_pylist(), strict=True))
    return sum(
        (texts.get((row["sample_id"], row["captioner"])) or "")[row["char_start"] : row["char_end"]] != row["phrase"]
        for row in phrases.to_pylist()
    )
