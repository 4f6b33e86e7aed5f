"""The last pass: what the others found, as the tables of a dataset, and its manifest."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from finevit import __version__
from finevit.recaption.contracts import OK
from finevit.recaption.passes.base import SELECTS, Inputs, Output, Pass, Rows, Run
from finevit.recaption.statistics import numbers_of
from finevit.registry import PASSES
from finevit.shards.files import FileEntry, copy_table
from finevit.shards.manifest import FILE, PIXELS, Manifest, Shard, digest, load, save
from finevit.shards.schema import IMAGES, table

TEXT_WORDS = frozenset(
    [
        "a",
        "an",
        "the",
        "some",
        "of",
        "with",
        "on",
        "in",
        "and",
        "text",
        "texts",
        "word",
        "words",
        "letter",
        "letters",
        "writing",
        "written",
        "sign",
        "signs",
        "label",
        "labels",
        "caption",
        "title",
        "number",
        "numbers",
        "logo",
        "lettering",
        "inscription",
        "readable",
        "visible",
        "printed",
    ]
)
"""A caption of these words alone says only that there is text."""


@PASSES.register_module()
class Assemble(Pass):
    """Writes the tables ``images``, ``captions``, ``phrases`` and ``regions`` of each shard.

    A region's caption that says no more than that there is text is replaced by what OCR read there, and kept as
    ``replaced_caption`` (paper, FineCap step 6).
    """

    name = "assemble"
    reads = ("index",)
    uses = (*SELECTS[1:], "ocr", "captions", "phrases", "grounding", "sample", "local_captions", "region_check")

    def gather(self, parts: Iterable[tuple[str, Inputs]]) -> Mapping[str, Any]:
        """Of each shard the numbers of its classes among all."""
        numbers: dict[str, int] = {}
        classes: dict[str, set[str]] = {}
        for shard, inputs in parts:
            numbers |= _classes(inputs)
            named = inputs.tables["phrases"]["phrases"]["class_name"].unique().to_pylist() if "phrases" in inputs.tables else []
            classes[shard] = set(named)
        return {shard: {name: numbers[name] for name in sorted(names & set(numbers))} for shard, names in classes.items()}

    def process_shard(self, inputs: Inputs) -> Output:
        """The tables of the dataset."""
        images = list(self._images(inputs))
        captions = inputs.rows("index", "captions") + inputs.rows("captions", "captions")
        captions.sort(key=lambda row: (row["sample_id"], row["captioner"], row["prompt_id"]))
        phrases = [{**row, "class_id": inputs.shared.get(row["class_name"], -1)} for row in inputs.rows("phrases", "phrases")]
        phrases.sort(key=lambda row: (row["sample_id"], row["captioner"], row["char_start"], row["char_end"]))
        regions = [*self._objects(inputs), *self._lines(inputs)]
        regions.sort(key=lambda row: (row["sample_id"], row["kind"], row["region_id"]))
        counts = Counter(f"images {row['verdict']}" for row in images)
        counts += Counter(f"captions {row['status']}" for row in captions)
        counts += Counter(f"regions {row['kind']} {'kept' if row['kept'] else 'dropped'}" for row in regions)
        counts["captions replaced by text"] = sum(row["replaced_caption"] is not None for row in regions)
        rows = {"images": images, "captions": captions, "phrases": phrases, "regions": regions}
        tables = {name: table(name, each) for name, each in rows.items()}
        return Output(tables, +counts, {"statistics": numbers_of(tables), "classes": _classes(inputs)})

    def finish(self, run: Run) -> None:
        """The manifest, which points at the tars and at the newest tables; a dataset that is the same already stays as it is."""
        before = load(run.dataset) if (run.dataset / FILE).is_file() else None
        counts, classes = Counter[str](), dict[int, str]()
        shards = []
        for shard in run.shards:
            own = run.sidecar(self.name, shard)
            note = own.done()
            assert note, "every shard is done"
            counts += Counter(note.counts)
            files = {
                name: copy_table(own.path(f".{name}.parquet"), run.dataset, f"{shard}.{name}", rows)
                for name, rows in note.rows.items()
            }
            classes |= {number: name for name, number in note.notes["classes"].items()}
            index = run.sidecar("index", shard).done()
            assert index, "the first pass is done"
            pixels = FileEntry(**index.notes["tar"])
            shards.append(Shard(name=shard, rows=note.rows["images"], files={PIXELS: pixels, **files}))
        made = Manifest(
            shards=tuple(shards),
            config_hash=run.config_hash,
            code_version=__version__,
            counts=_nested(counts),
            classes=tuple(classes.get(number, "") for number in range(max(classes, default=-1) + 1)),
            facts={"models": run.models},
        )
        if before is None or replace(before, parent="") != made:
            save(run.dataset, replace(made, parent=digest(before) if before else ""))

    def _images(self, inputs: Inputs) -> Iterator[dict[str, Any]]:
        kinds = {row["sample_id"]: row["kind"] for row in inputs.rows("ocr", "kinds")}
        why: dict[int, list[str]] = {}
        for name in SELECTS[1:]:
            for row in inputs.rows(name, "verdicts"):
                why.setdefault(row["row"], []).extend(row["reasons"])
        for entry in inputs.rows("index", "images"):
            reasons = entry["reasons"] + why.get(entry["row"], [])
            row = {name: entry.get(name) for name in IMAGES.names}
            yield {
                **row,
                "kind": kinds.get(entry["sample_id"], "photo"),
                "verdict": "rejected" if reasons else "kept",
                "reasons": reasons,
            }

    def _objects(self, inputs: Inputs) -> Iterator[dict[str, Any]]:
        captions = {row["region_id"]: row for row in inputs.rows("local_captions", "captions")}
        checks = {row["region_id"]: row for row in inputs.rows("region_check", "checks")}
        lines: dict[str, Rows] = {}
        for line in inputs.rows("ocr", "lines"):
            lines.setdefault(line["sample_id"], []).append(line)
        for region in inputs.rows("sample", "regions"):
            caption, check = captions.get(region["region_id"]), checks.get(region["region_id"])
            text = caption["text"] if caption else None
            status, reasons, kept = caption["status"] if caption else OK, list(region["reasons"]), region["kept"]
            row = {name: region[name] for name in _OF_REGION}
            read = _read_in(region["bbox"], lines.get(region["sample_id"], []))
            replaced = None
            if only_text(text if text is not None else region["phrase"]) and read:
                replaced, text = text if text is not None else region["phrase"], read["text"]
            elif check and check["status"] == OK and not check["confirmed"]:
                kept, reasons, status = (
                    False,
                    [*reasons, "unconfirmed: the grounder does not find what the caption says"],
                    "unconfirmed",
                )
            yield {
                **row,
                "quad": None,
                "kind": "object",
                "kept": kept,
                "local_caption": text,
                "replaced_caption": replaced,
                "ocr_text": read["text"] if read else None,
                "ocr_score": read["score"] if read else None,
                "status": status,
                "reasons": reasons,
            }

    def _lines(self, inputs: Inputs) -> Iterator[dict[str, Any]]:
        kinds = {row["sample_id"]: row["kind"] for row in inputs.rows("ocr", "kinds")}
        for line in inputs.rows("ocr", "lines"):
            x1, y1, x2, y2 = line["bbox"]
            reasons = [] if x1 < x2 and y1 < y2 else ["no area: x2 <= x1 or y2 <= y1"]
            yield {
                **{name: line[name] for name in ("region_id", "sample_id", "bbox", "quad", "score", "detector")},
                "kind": "document" if kinds.get(line["sample_id"]) == "document" else "text_line",
                "phrase": "",
                "class_id": -1,
                "class_name": "",
                "keep_prob": 1.0,
                "kept": not reasons,
                "local_caption": None,
                "replaced_caption": None,
                "ocr_text": line["text"],
                "ocr_score": line["score"],
                "status": OK,
                "reasons": reasons,
            }


def _classes(inputs: Inputs) -> dict[str, int]:
    """The classes of the shard's regions, with their numbers."""
    if "sample" not in inputs.tables:
        return {}
    found = inputs.tables["sample"]["regions"].group_by(["class_name", "class_id"]).aggregate([]).to_pylist()
    return {row["class_name"]: row["class_id"] for row in sorted(found, key=lambda row: row["class_id"]) if row["class_id"] >= 0}


def _nested(counts: Mapping[str, int]) -> dict[str, dict[str, int]]:
    """Counts by the first word of their names."""
    nested: dict[str, dict[str, int]] = {}
    for name, count in sorted(counts.items()):
        table_name, _, status = name.partition(" ")
        nested.setdefault(table_name, {})[status] = count
    return nested


_OF_REGION = ("region_id", "sample_id", "bbox", "score", "phrase", "class_id", "class_name", "detector", "keep_prob")


def only_text(caption: str) -> bool:
    """Whether a caption says no more than that there is text."""
    words = [word.strip(".,;:!?\"'“”()").casefold() for word in caption.split()]
    return bool(words) and all(word in TEXT_WORDS for word in words if word) and any(word.startswith(_TEXTUAL) for word in words)


_TEXTUAL = ("text", "word", "letter", "writing", "sign", "label", "caption", "title", "number", "logo", "inscription")


def _read_in(box: list[float], lines: Rows) -> dict[str, Any] | None:
    """The lines inside a box, from top to bottom, as one; None where there are none."""
    found = [line for line in lines if _inside(line["bbox"], box)]
    found.sort(key=lambda line: (line["bbox"][1], line["bbox"][0]))
    if not found:
        return None
    return {"text": " ".join(line["text"] for line in found), "score": min(line["score"] for line in found)}


def _inside(inner: list[float], outer: list[float]) -> bool:
    """Whether most of a box lies in another."""
    x1, y1, x2, y2 = inner
    wide, high = min(x2, outer[2]) - max(x1, outer[0]), min(y2, outer[3]) - max(y1, outer[1])
    return wide > 0 and high > 0 and wide * high >= 0.7 * (x2 - x1) * (y2 - y1)
