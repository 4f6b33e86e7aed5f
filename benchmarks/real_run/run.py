"""A run over real images out of packages: filters, duplicates and OCR as they are; a stand-in plays captions that people wrote.

    python benchmarks/real_run/run.py

Nothing that can be had from a package writes captions: the stand-in says what people wrote of an image, where somebody did, and is
named as a stand-in; images of which nobody wrote get ``bad_request``. What is measured is in ``results.json`` of the work dir.
What is finished is not done again.
"""

import argparse
import hashlib
import json
import sys
from collections import Counter
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import runs

from finevit.recaption.sidecars import write_json
from finevit.shards import manifest
from finevit.shards.files import read_table

ROOT = Path(__file__).resolve().parents[2]


def main() -> None:
    """Fetch, write what people said, run, measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work-dir", type=Path, default=Path("work_dirs/real_run"))
    work_dir = parser.parse_args().work_dir.absolute()
    images = work_dir / "images"
    if not images.exists():
        runs.call("benchmarks/real_run/fetch.py", "--out", images)
    truth = work_dir / "truth.jsonl"
    truth.write_text("".join(f"{json.dumps(line)}\n" for line in told(images)), "utf-8")
    options = (f"data_root={images}", f"services.stand_in.command={command(truth)}")
    runs.call("tools/recaption.py", "benchmarks/real_run/config.py", "--work-dir", work_dir / "run", "--cfg-options", *options)
    results = measured(work_dir / "run")
    write_json(work_dir / "results.json", results)
    print(json.dumps(results, indent=1, ensure_ascii=False))


def told(images: Path) -> list[dict[str, Any]]:
    """What people wrote, by the SHA-256 of the image."""
    lines = []
    for text in sorted(images.rglob("*.txt")):
        caption = " ".join(text.read_text("utf-8").split())
        for image in sorted(path for path in text.parent.glob(f"{_escaped(text.stem)}.*") if path != text):
            lines.append({"sha256": hashlib.sha256(image.read_bytes()).hexdigest(), "captions": {"people": caption}})
    return lines


def _escaped(stem: str) -> str:
    return "".join(f"[{letter}]" if letter in "[]*?" else letter for letter in stem)


def command(truth: Path) -> list[str]:
    """How the stand-in is started: it knows the images of a file alone."""
    return ["{python}", "-m", "finevit", "stand-in", "--port", "{port}", "--level", "none", "--truth", str(truth)]


def measured(work_dir: Path) -> dict[str, Any]:
    """Counts by status, seconds of each pass, reasons by part of the set, and what OCR read."""
    dataset = manifest.load(work_dir / "dataset")
    rows = {name: [row for shard in dataset.shards for row in _rows(work_dir, shard, name)] for name in ("images", "regions")}
    parts, reasons = Counter[str](), Counter[str]()
    for row in rows["images"]:
        part = row["source"].partition("/")[0]
        parts[f"{part}: {row['kind']} {row['verdict']}"] += 1
        reasons.update(f"{part}: {reason.partition(':')[0]}" for reason in row["reasons"])
    lines = [row for row in rows["regions"] if row["ocr_text"] and row["kind"] != "object"]
    notes = {
        folder.name: [json.loads(path.read_text("utf-8")) for path in sorted(folder.glob("*.done.json"))]
        for folder in sorted((work_dir / "passes").iterdir())
    }
    words = Counter(word.casefold() for row in lines for word in row["ocr_text"].split() if word.isalpha() and len(word) > 3)
    return {
        "counts": dataset.counts,
        "images": dict(sorted(parts.items())),
        "reasons": dict(sorted(reasons.items())),
        "seconds": {name: round(sum(note["seconds"] for note in each), 1) for name, each in notes.items()},
        "text lines": len(lines),
        "images with text": len({row["sample_id"] for row in lines}),
        "most frequent words": dict(words.most_common(20)),
        "lines read": [row["ocr_text"] for row in sorted(lines, key=lambda row: row["region_id"])[:12]],
    }


def _rows(work_dir: Path, shard: manifest.Shard, name: str) -> list[dict[str, Any]]:
    return read_table(work_dir / "dataset" / shard.files[name].path).to_pylist()


if __name__ == "__main__":
    main()
