"""Draw a page of records, with boxes, classes, written words and captions, into a picture, a PDF or a page of HTML.

finevit show --level medium --n 12 --out page.html
finevit show --data-root PATH
"""

import argparse
import sys
from collections.abc import Callable, Sequence
from io import BytesIO
from pathlib import Path

from finevit.contracts import Record, Source
from finevit.engine.cli import user_errors
from finevit.storage.durable import make_folder

HTML = (".html", ".htm")
ENDINGS = (".png", ".jpg", ".jpeg", ".webp", ".pdf", *HTML)
"""What can be written."""


def main() -> None:
    """Write the page and say where it is."""
    options = parse_args()
    with user_errors():
        check_out(options.out)
        from finevit.visualization.records import take

        source = open_records(options)
        records, bad = take(source, first=options.first, count=options.n)
        for message in bad:
            print(f"skipped: {message}", file=sys.stderr)
        if not records:
            print(f"No record to show: {source.describe()}", file=sys.stderr)
            raise SystemExit(1)
        write(records, source, options)
    print(f"{source.describe()}\n{len(records)} records drawn into {options.out}")


def parse_args() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--level", default="easy", help="difficulty of the embedded scenes: easy, medium or hard")
    parser.add_argument("--split", default="train", help="train, val or test")
    parser.add_argument("--seed", type=int, default=0, help="seed of the embedded scenes")
    parser.add_argument("--data-root", type=Path, help="your own images instead: a folder, a JSONL file or tars")
    parser.add_argument("--first", type=at_least(0), default=0, help="index of the first record")
    parser.add_argument("--n", type=at_least(1), default=12, help="how many records")
    parser.add_argument("--columns", type=at_least(1), default=4, help="how many records side by side")
    parser.add_argument("--out", type=Path, default=Path("page.png"), help=f"where the page goes: {', '.join(ENDINGS)}")
    return parser.parse_args()


def check_out(out: Path) -> None:
    """``ValueError`` where no page can be written to ``out``, said before anything is drawn."""
    if out.suffix.lower() not in ENDINGS:
        raise ValueError(f"--out {str(out)!r}: give a file that ends in {', '.join(ENDINGS[:-1])} or {ENDINGS[-1]}")
    if out.is_dir():
        raise ValueError(f"--out {str(out)!r} is a folder; give a file in it, such as {str(out / 'page.html')!r}")
    try:
        make_folder(out.parent)
    except OSError as error:
        raise ValueError(f"--out {str(out)!r}: its folder cannot be made ({error.strerror}); give another") from None


def write(records: Sequence[Record], source: Source, options: argparse.Namespace) -> None:
    """Saves the page by the ending of ``--out``; ``ValueError`` where that cannot be."""
    from PIL import Image

    from finevit.storage.durable import write_file
    from finevit.storage.places import FAULTS, fault, remedy_for
    from finevit.visualization.records import draw_records, page
    from finevit.visualization.report import write as write_page

    try:
        if options.out.suffix.lower() in HTML:
            write_page(page(records, about=source.describe()), options.out)
        else:
            file, drawn = BytesIO(), draw_records(records, columns=min(options.columns, len(records)))
            drawn.save(file, Image.registered_extensions()[options.out.suffix.lower()])
            write_file(options.out, lambda out: out.write(file.getvalue()))
    except (OSError, ValueError) as error:
        told, remedy = str(error), "show fewer with --n, or try .html"
        if isinstance(error, OSError) and error.errno in FAULTS:
            told, remedy = fault(error, known=str(options.out)), remedy_for(error, "give another")
        raise ValueError(f"--out {str(options.out)!r} cannot be written ({told}); {remedy}") from error


def at_least(least: int) -> Callable[[str], int]:
    """For argparse: a whole number from ``least`` on."""

    def number(text: str) -> int:
        if not text.strip().lstrip("+").isdecimal() or int(text) < least:
            raise argparse.ArgumentTypeError(f"{text!r}: give a whole number, at least {least}")
        return int(text)

    return number


def open_records(options: argparse.Namespace) -> Source:
    """The user's data where given, else the embedded scenes."""
    if options.data_root is not None:
        from finevit.datasets.readers import open_source

        return open_source(data_root=options.data_root, split=options.split)
    from finevit.scenes import Scenes

    return Scenes(level=options.level, split=options.split, seed=options.seed)
