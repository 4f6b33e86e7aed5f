"""Makes dense global and regional captions of images, in passes that can be gone on with: ``finevit recaption recaption_embedded``.

finevit recaption CONFIG                 runs what is not done yet, and asks again what failed for the moment
finevit recaption status CONFIG          what is done, what it cost
finevit recaption retry CONFIG           also asks again what failed for good (--status names which)
finevit recaption show CONFIG            writes a page of images with what was found

Exit status: 0 where all is done; 75 where another run can complete it (requests that failed for the moment, --budget, Ctrl-C).
"""

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from finevit.engine.cli import add_options, user_errors

if TYPE_CHECKING:
    from mmengine.config import Config

ACTIONS = ("run", "status", "retry", "show")


def main() -> None:
    """Entry point."""
    with user_errors():
        options = parse_args(sys.argv[1:])
        if status := ACT[options.action](options):
            raise SystemExit(status)


def parse_args(arguments: list[str]) -> argparse.Namespace:
    """The command line; ``run`` is what is done where no action is named."""
    if arguments and arguments[0] not in (*ACTIONS, "-h", "--help"):
        arguments = ["run", *arguments]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("action", choices=ACTIONS, help="what to do (run, where it is left out)")
    parser.add_argument("config", help="a config file, or the name of one of FineViT's, such as recaption_embedded")
    parser.add_argument("--work-dir", help="where passes, journals and the dataset go (default: work_dirs/<config name>)")
    parser.add_argument("--budget", type=float, metavar="MONEY", help="run: stop before this run's requests cost more")
    parser.add_argument(
        "--dry-run", type=int, nargs="?", const=20, metavar="N", help="run: do N images, and say what all will cost"
    )
    parser.add_argument("--status", nargs="+", default=[], help="retry: only failures of these statuses")
    parser.add_argument("--out", type=Path, help="show: where the page goes (default: <work dir>/report.html)")
    parser.add_argument("--n", type=int, default=24, help="show: how many images")
    add_options(parser)
    return parser.parse_args(arguments)


def load(options: argparse.Namespace) -> "Config":
    """The checked config; its work dir is that of the options."""
    from finevit.config import loading
    from finevit.plugins import load_plugins

    def prepare(cfg: "Config") -> None:
        work_dir = options.work_dir or cfg.get("work_dir") or Path("work_dirs") / Path(options.config).stem
        cfg.work_dir = str(Path(work_dir).expanduser())
        if "passes" not in cfg:
            raise ValueError(f"{options.config} trains a model; finevit recaption wants a config with passes, such as recaption")

    load_plugins()
    return loading.load(options.config, options.cfg_options, prepare=prepare)


def run(options: argparse.Namespace) -> int:
    """Runs the passes, or a sample of them."""
    from finevit.recaption.console import dry_run, follow

    cfg = load(options)
    settings = _settings(cfg)
    if options.dry_run:
        return dry_run(settings, Path(cfg.work_dir), images=options.dry_run)
    return follow(settings, Path(cfg.work_dir), budget=options.budget)


def retry(options: argparse.Namespace) -> int:
    """Runs the passes once failures are forgotten."""
    from finevit.recaption.console import follow
    from finevit.recaption.run import forget

    cfg = load(options)
    count = forget(Path(cfg.work_dir), options.status)
    print(f"{count:,} requests that failed for good are asked again")
    return follow(_settings(cfg), Path(cfg.work_dir), budget=options.budget)


def status(options: argparse.Namespace) -> int:
    """Prints what is done."""
    from finevit.recaption.console import print_status

    cfg = load(options)
    return print_status(_settings(cfg), Path(cfg.work_dir))


def show(options: argparse.Namespace) -> int:
    """Writes the page."""
    from finevit.recaption.page import write_page

    cfg = load(options)
    out = options.out or Path(cfg.work_dir) / "report.html"
    print(f"page: {write_page(_settings(cfg), Path(cfg.work_dir), out, images=options.n)}")
    return 0


def _settings(cfg: "Config") -> dict[str, Any]:
    settings: dict[str, Any] = cfg.to_dict()
    return settings


ACT = {"run": run, "status": status, "retry": retry, "show": show}
