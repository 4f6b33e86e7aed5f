"""Make shards of images with captions and regions, look at them, verify them, read and write other layouts.

finevit shards make PATH data/shards            PATH: whatever data_root takes
finevit shards show data/shards --out page.html
finevit shards check data/shards                exit status 1 where it is not whole
finevit shards import coco instances.json data/shards --images train2017
finevit shards export conversations data/shards data/llava --style norm1000

Shards are what data_root takes as well. More: docs/shards.md.
"""

import argparse
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from finevit.engine.cli import until_closed, user_errors

if TYPE_CHECKING:
    from finevit.shards.formats.base import ShardFormat


def main() -> None:
    """Entry point."""
    options = parse_args()
    with user_errors(), until_closed():
        options.call(options)


def parse_args() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True, metavar="COMMAND", title="commands")
    made = _command(commands, "make", make, "write shards of your images, captions and regions")
    made.add_argument("data", type=Path, help="what data_root takes: a folder, a .jsonl file, tars, ...")
    made.add_argument("out", type=Path, help="the folder to make")
    made.add_argument("--split", default="all", help="train, val or all; those of the shards are the same")
    _add_rows(made)
    shown = _command(commands, "show", show, "numbers, and a page of records")
    shown.add_argument("dataset", type=Path, help="a folder of shards, or one of its manifests/")
    shown.add_argument("--out", type=Path, help="a page of records: a file that ends in .html")
    shown.add_argument("--first", type=int, default=0, help="index of the first record")
    shown.add_argument("--n", type=int, default=12, help="how many records")
    checked = _command(commands, "check", check, "verify every byte, and count what misleads")
    checked.add_argument("dataset", type=Path, help="a folder of shards")
    checked.add_argument("--patch", type=int, default=14, help="side of a patch in pixels: thinner boxes are counted")
    read = _command(commands, "import", import_, "shards of annotations in another layout")
    read.add_argument("format", help="coco, refcoco, conversations, jsonl, img2dataset or one of a package")
    read.add_argument("path", type=Path, help="the file or folder of annotations")
    read.add_argument("out", type=Path, help="the folder to make")
    read.add_argument("--images", type=Path, help="the folder of the images, by default that of the annotations")
    _add_rows(read)
    _add_style(read)
    wrote = _command(commands, "export", export, "images and annotations in another layout")
    wrote.add_argument("format", help="coco, refcoco, conversations, jsonl, img2dataset or one of a package")
    wrote.add_argument("dataset", type=Path, help="a folder of shards")
    wrote.add_argument("out", type=Path, help="the folder to make")
    wrote.add_argument("--split", default="all", help="train, val or all")
    _add_style(wrote)
    return parser.parse_args()


def _command(commands: argparse._SubParsersAction, name: str, call: Callable, about: str) -> argparse.ArgumentParser:
    made: argparse.ArgumentParser = commands.add_parser(name, help=about, description=f"{about[0].upper()}{about[1:]}.")
    made.set_defaults(call=call)
    return made


def _add_rows(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--rows", type=int, default=10_000, help="images of a shard")


def _add_style(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--style", default="norm1000", help="how boxes stand in texts: a name of finevit.boxes.STYLES")


def make(options: argparse.Namespace) -> None:
    """Shards of what ``data_root`` takes."""
    from finevit.datasets.readers import open_source

    _write(open_source(data_root=options.data, split=options.split), options)


def import_(options: argparse.Namespace) -> None:
    """Shards of another layout."""
    source = _format(options.format).records(options.path, images=options.images, style=options.style)
    _write(source, options)


def _write(source, options: argparse.Namespace) -> None:
    from finevit.shards.writing import write_source
    from finevit.storage.places import check_writable

    if options.rows < 1:
        raise ValueError(f"--rows {options.rows}: give a whole number of images, at least 1")
    check_writable(options.out, setting="OUT", remedy="give another folder")
    print(source.describe())
    with _progress("images", len(source)) as advance:
        written = write_source(source, options.out, shard=options.rows, advance=advance)
    _tell(written.left_out, "not in the shards")
    images = written.manifest.counts.get("images", {})
    print(f"{options.out}: {images.get('kept', 0):,} images in {len(written.manifest.shards):,} shards")
    if rejected := images.get("rejected", 0):
        print(f"{rejected:,} cannot be used; finevit shards show {options.out} says why", file=sys.stderr)


def export(options: argparse.Namespace) -> None:
    """A dataset in another layout."""
    from finevit.datasets.readers import ShardRecords
    from finevit.storage.places import check_writable

    form = _format(options.format)
    source = ShardRecords(data_root=options.dataset, split=options.split)
    if options.out.exists() and any(options.out.iterdir()):
        raise ValueError(f"{options.out} is not empty; give a folder that is new")
    check_writable(options.out, setting="OUT", remedy="give another folder")
    print(source.describe())
    with _progress("images", len(source)) as advance:
        left_out = form.write(source, options.out, style=options.style, advance=advance)
    _tell(left_out, f"not in {options.format}")
    print(f"{options.out}: {len(source):,} images as {options.format}")


def show(options: argparse.Namespace) -> None:
    """Numbers of a dataset, and a page of its records."""
    from finevit.printable import printable
    from finevit.shards.manifest import load
    from finevit.shards.summary import rows, summarise

    if options.out and (options.out.suffix.lower() not in (".html", ".htm") or options.out.is_dir()):
        raise ValueError(f"--out {str(options.out)!r}: give a file that ends in .html")
    said = rows(load(options.dataset), summarise(options.dataset))
    width = max(len(name) for name, _ in said)
    for name, value in said:
        print(f"{printable(name).ljust(width)}  {printable(value)}")
    if options.out:
        _write_page(options, said)


def _write_page(options: argparse.Namespace, said: list[tuple[str, str]]) -> None:
    from dataclasses import replace

    from finevit.datasets.readers import ShardRecords
    from finevit.visualization.records import page, take
    from finevit.visualization.report import write

    source = ShardRecords(data_root=options.dataset, split="all")
    records, bad = take(source, first=max(0, options.first), count=options.n)
    for message in bad:
        print(f"skipped: {message}", file=sys.stderr)
    write(replace(page(records, about=source.describe()), about=said), options.out)
    print(f"{len(records)} records drawn into {options.out}")


def check(options: argparse.Namespace) -> None:
    """Verifies a dataset; exit status 1 where it is not whole."""
    from finevit.printable import printable
    from finevit.shards.checking import TRAPS, check
    from finevit.shards.manifest import load

    with _progress("shards", len(load(options.dataset).shards)) as advance:
        found = check(options.dataset, patch=options.patch, advance=advance)
    for trap, about in TRAPS.items():
        print(f"{found.traps[trap]:>10,}  {about}")
    for fault in found.faults:
        print(f"fault: {printable(fault)}", file=sys.stderr)
    if found.count:
        print(f"{options.dataset} is not whole: {found.count:,} faults", file=sys.stderr)
        raise SystemExit(1)
    print(f"{options.dataset} is whole: {found.images:,} images, every file, member and row as listed")


def _format(name: str):
    from finevit.plugins import load_plugins
    from finevit.registry import SHARD_FORMATS
    from finevit.suggest import did_you_mean

    load_plugins()
    SHARD_FORMATS.import_from_location()
    if name not in SHARD_FORMATS.module_dict:
        known = sorted(SHARD_FORMATS.module_dict)
        raise ValueError(f"format {name!r} is unknown{did_you_mean(name, known)}; there are {', '.join(known)}")
    form: ShardFormat = SHARD_FORMATS.module_dict[name]()
    return form


def _tell(left_out: Counter[str], where: str) -> None:
    for what, count in left_out.most_common():
        if count:
            print(f"{where}: {count:,} {what}", file=sys.stderr)


@contextmanager
def _progress(what: str, total: int) -> Iterator[Callable[[], object]]:
    """A bar with the rate and the time left; gives what is called after each."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
    from rich.text import Text

    class Rate(ProgressColumn):
        def render(self, task: Task) -> Text:
            return Text(f"{task.finished_speed or task.speed or 0:.0f} a second")

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), Rate(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task(what, total=total)
        yield lambda: bar.advance(task)
