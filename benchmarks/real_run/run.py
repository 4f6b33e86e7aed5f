"""What the passes that need no captioner make of the real images of ``fetch.py``: filters, near-duplicates, RapidOCR, in numbers.

    python benchmarks/real_run/run.py --images data/real --every 7 --out benchmarks/results/real_run_epyc_2_cores.json

``--short-side`` is lower than the paper's 448: few of these images are so large, and the counts say how many. What is done is not
done again by the same command.
"""

import argparse
import json
import os
from collections import Counter
from pathlib import Path
from typing import Any

from pyarrow import parquet

from finevit.plugins import load_plugins
from finevit.recaption.run import Watch, recaption
from finevit.shards import manifest

EXAMPLES = 20
"""So many lines of text are shown, evenly out of all."""


def main() -> None:
    """Run, count, print; with ``--out`` also keep it."""
    arguments = parse()
    load_plugins()
    chosen = choose(arguments.images, arguments.every, arguments.work_dir / "chosen")
    report = recaption(settings(chosen, arguments), arguments.work_dir, watch=Watch())
    if report.errors or report.partial:
        raise SystemExit(f"the run is not whole: {report.errors or report.partial}")
    told = {"short_side": arguments.short_side, "every": arguments.every, **counts(arguments.work_dir)}
    text = json.dumps(told, indent=2, ensure_ascii=False)
    print(text)
    if arguments.out:
        arguments.out.write_text(text + "\n", "utf-8")


def parse() -> argparse.Namespace:
    """What is asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=Path, required=True, help="the folder that fetch.py made")
    parser.add_argument("--every", type=int, default=1, help="take one image in so many (default: all)")
    parser.add_argument("--short-side", type=int, default=224)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--work-dir", type=Path, default=Path("work_dirs/real_run"))
    parser.add_argument("--out", type=Path, help="a JSON file for the numbers")
    return parser.parse_args()


def choose(images: Path, every: int, folder: Path) -> Path:
    """A folder of links to one image in so many, with the text beside it."""
    found = sorted(path for path in images.rglob("*") if path.is_file() and path.suffix != ".txt")
    for image in found[::every]:
        for path in (image, image.with_suffix(".txt")):
            link = folder / path.relative_to(images)
            link.parent.mkdir(parents=True, exist_ok=True)
            if path.is_file() and not link.exists():
                os.link(path, link)
    return folder


def settings(images: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    """The run."""
    passes = {
        "index": {"type": "Index"},
        "quality": {"type": "QualityFilter", "short_side": arguments.short_side},
        "duplicates": {"type": "NearDuplicates"},
        "ocr": {"type": "OCR", "ocr": {"type": "RapidOCREngine"}},
        "assemble": {"type": "Assemble"},
    }
    source = {"type": "ImageFolder", "data_root": str(images), "holdout": 0}
    return {"source": source, "executor": {"type": "ProcessPool", "workers": arguments.workers}, "passes": passes}


def counts(work_dir: Path) -> dict[str, Any]:
    """Counts by folder, seconds by pass, and some of what was read."""
    images, regions = (rows(work_dir / "dataset", name) for name in ("images", "regions"))
    folders = {row["sample_id"]: row["source"].partition("/")[0] for row in images}
    parts: dict[str, Counter[str]] = {}
    for row in images:
        part = parts.setdefault(row["source"].partition("/")[0], Counter())
        part[row["verdict"]] += 1
        part.update(f"rejected: {reason.partition(':')[0]}" for reason in row["reasons"])
        part[row["kind"]] += row["verdict"] == "kept"
    for row in regions:
        parts[folders[row["sample_id"]]]["lines of text"] += 1
    done = sorted((work_dir / "passes").glob("*/*.done.json"))
    seconds: Counter[str] = Counter()
    for path in done:
        seconds[path.parent.name] += json.loads(path.read_text())["cpu_seconds"]
    step = max(1, len(regions) // EXAMPLES)
    texts = [row["ocr_text"] for row in regions[::step]][:EXAMPLES]
    return {"images": len(images), "parts": parts, "cpu seconds": seconds, "lines, for example": texts}


def rows(dataset: Path, name: str) -> list[dict[str, Any]]:
    """All rows of a table."""
    shards = manifest.load(dataset).shards
    return [row for shard in shards for row in parquet.read_table(dataset / shard.files[name].path).to_pylist()]


if __name__ == "__main__":
    main()
