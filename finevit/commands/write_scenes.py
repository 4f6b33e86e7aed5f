"""Write embedded scenes as files in the layouts of COCO, ADE20K and ImageNet-like lists, for configs/downstream.

finevit write-scenes work_dirs/scenes --level easy --train 2000 --val 256

What is there already, made by the same settings, is not made again.
"""

import argparse
import json
from pathlib import Path

from finevit.engine.cli import user_errors
from finevit.storage.places import check_writable
from finevit.storage.regular import read_regular


def main() -> None:
    """Entry point."""
    with user_errors():
        write(parse_args())


def write(options: argparse.Namespace) -> None:
    """Write both splits, and the settings last: without them a folder counts as unfinished."""
    from rich.console import Console
    from rich.progress import track

    from finevit.scenes import Scenes
    from finevit.scenes.layouts import write_layouts

    settings = {key: value for key, value in vars(options).items() if key != "out"}
    note = options.out / "scenes.json"
    check_writable(options.out, setting="out", remedy="give another folder")
    if _noted(note) == settings:
        print(f"{options.out}: these scenes are there already")
        return
    sources = {
        split: Scenes(level=options.level, split=split, length=vars(options)[split], seed=options.seed)
        for split in ("train", "val")
    }
    note.unlink(missing_ok=True)
    for split, source in sources.items():
        indices = track(range(len(source)), description=f"{split} scenes", console=Console(stderr=True))
        write_layouts((source[index] for index in indices), options.out, split=split, classes=source.classes)
    note.write_text(json.dumps({"settings": settings, "classes": source.classes}, indent=1) + "\n")
    print(f"{options.out}: {options.train} scenes to train with, {options.val} to validate, {len(source.classes)} classes")


def _noted(note: Path) -> object:
    """The settings that a finished folder was made with."""
    try:
        return json.loads(read_regular(note, max_bytes=1 << 20))["settings"]
    except (OSError, ValueError, TypeError, KeyError, RecursionError):
        return None


def parse_args() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, help="the folder that is written")
    parser.add_argument("--level", default="easy", help="difficulty of the embedded scenes: easy, medium or hard")
    parser.add_argument("--train", type=int, default=2000, help="scenes to train with")
    parser.add_argument("--val", type=int, default=256, help="scenes to validate with; none of them is among the former")
    parser.add_argument("--seed", type=int, default=0, help="seed of the scenes")
    return parser.parse_args()
