"""What an OCR engine reads of drawn pages and scenes with known text of at least 12 pixels, through the pipeline.

    python benchmarks/ocr/read.py --images 200

Half of the images are pages, a quarter photographs with labels, a quarter embedded scenes. A word counts where it stands in the
text of the box that fits its line best, and that box overlaps the line's ink by IoU 0.5.
"""

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))
from benchmarks.ocr import measure  # noqa: E402
from benchmarks.ocr.drawn import drawn  # noqa: E402
from finevit.plugins import load_plugins  # noqa: E402


def main() -> None:
    """Draw, read, and print the table; with ``--out`` also keep it."""
    arguments = parse()
    load_plugins()
    images = list(drawn(arguments.images, first=arguments.first))
    engine, started = {"type": arguments.engine}, time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        measure.write(images, place / "images")
        workers = {"type": "ProcessPool", "workers": arguments.workers}
        found = measure.read(place / "images", place / "run", engine=engine, executor=workers)
    rows = measure.table([measure.score(each, *found[number]) for number, each in enumerate(images)])
    seconds = time.monotonic() - started
    for row in rows:
        print("  ".join(f"{name} {value:.3f}" if isinstance(value, float) else f"{name} {value}" for name, value in row.items()))
    print(f"{seconds / len(images):.2f} s an image with {arguments.workers} workers")
    if arguments.out:
        arguments.out.write_text(json.dumps({"engine": arguments.engine, "rows": rows, "seconds": round(seconds)}, indent=2) + "\n")


def parse() -> argparse.Namespace:
    """What is asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=200)
    parser.add_argument("--first", type=int, default=1000, help="the first image's number; each is drawn from its own")
    parser.add_argument("--engine", default="RapidOCREngine", help="the name of an OCR engine (default: %(default)s)")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--out", type=Path, help="a JSON file for the table")
    return parser.parse_args()


if __name__ == "__main__":
    main()
