"""Trains a config: ``finevit train finevit_tiny_stage1``."""

import argparse
import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from finevit.engine.cli import add_options, user_errors
from finevit.hub.trust import add_trust
from finevit.signals import Asked

if TYPE_CHECKING:
    from mmengine.config import Config


def parse_arguments(*, plan: bool) -> argparse.Namespace:
    """OpenMMLab's usual flags."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("config", help="a config file, or the name of one of FineViT's, such as finevit_tiny_stage1")
    parser.add_argument("--work-dir", help="where logs, checkpoints and the report go (default: work_dirs/<config name>)")
    parser.add_argument(
        "--resume", nargs="?", const="auto", help="continue: from the newest checkpoint of the work dir, or from a file"
    )
    parser.add_argument("--amp", action="store_true", help="train in bfloat16 (weights stay float32)")
    add_options(parser)
    told = "train nothing: predict the schedules, cost and time of the run"
    parser.add_argument("--plan", action="store_true", default=plan, help=told)
    parser.add_argument("--launcher", choices=["none", "pytorch", "slurm", "mpi"], help="how ranks are started (default: none)")
    parser.add_argument("--local_rank", "--local-rank", type=int, default=0, help=argparse.SUPPRESS)
    add_trust(parser)
    return parser.parse_args()


def apply_flags(cfg: "Config", arguments: argparse.Namespace) -> None:
    """Writes the flags into the config, which stays the whole truth of the run."""
    from finevit.engine.launch import check_launcher

    cfg.launcher = arguments.launcher or arguments.cfg_options.get("launcher", "none")
    if not arguments.plan:
        check_launcher(cfg.launcher)
    work_dir = arguments.work_dir or cfg.get("work_dir") or Path("work_dirs") / Path(arguments.config).stem
    cfg.work_dir = str(Path(work_dir).expanduser())
    if arguments.amp and cfg.get("optim_wrapper"):
        from finevit.config.rules import drop_stale_arguments

        cfg.optim_wrapper.type = "finevit.BFloat16OptimWrapper"  # in any package's scope
        drop_stale_arguments(cfg, "optim_wrapper.type")
    if arguments.resume not in (None, "auto"):
        cfg.resume, cfg.load_from = True, arguments.resume
    if cfg.get("load_from"):
        cfg.load_from = os.path.expanduser(cfg.load_from)  # as text: an address stays one


def plan(cfg: "Config", name: str) -> None:
    """Prints the plan of the run, and leaves ``plan.json`` and ``plan.html`` in its work dir."""
    from finevit.planning.planner import make_plan
    from finevit.provenance import provenance
    from finevit.visualization.plan import page, text
    from finevit.visualization.report import write

    made = make_plan(cfg, name=name, progress=lambda line: print(f"planning: {line}", file=sys.stderr, flush=True))
    saved = made.save(cfg.work_dir)
    shown = write(replace(page(made, cfg.pretty_text), about=provenance(made.device)), saved.with_suffix(".html"))
    print(f"{text(made)}\nplan: {saved} and {shown}")


def main(*, plan: bool = False) -> None:
    """Checks the config before anything heavy is loaded, then runs MMEngine's Runner."""
    with Asked().listening() as asked, user_errors():
        arguments = parse_arguments(plan=plan)

        from finevit.console import quiet_libraries

        with quiet_libraries():
            train(arguments, asked)


def train(arguments: argparse.Namespace, asked: Asked) -> None:
    """The command."""
    from finevit.config.loading import load
    from finevit.config.refusals import refusals
    from finevit.engine.newest_checkpoint import places
    from finevit.engine.work_dir import in_use
    from finevit.plugins import load_plugins
    from finevit.storage.places import check_writable

    load_plugins()
    cfg = load(
        arguments.config,
        arguments.cfg_options,
        prepare=lambda cfg: apply_flags(cfg, arguments),
        unused=("test_dataloader", "test_evaluator"),
    )
    check_writable(cfg.work_dir)
    if arguments.plan:
        begin(cfg, auto=arguments.resume == "auto")
        with refusals(cfg.to_dict()):
            plan(cfg, arguments.config)
        return
    with in_use(places(cfg), cfg.launcher) as unlocked, refusals(cfg.to_dict()):
        run(cfg, asked, [*unlocked, *begin(cfg, auto=arguments.resume == "auto")])


def find(cfg: "Config", *, auto: bool) -> list[str]:
    """Has the config name the newest whole checkpoint of its work dir where that is asked for; what is to be said of it."""
    from finevit.engine.newest_checkpoint import hooks_of, newest

    if not auto and not (cfg.get("resume") and not cfg.get("load_from")):
        return []
    checkpoint, damaged = newest(cfg.work_dir, hooks_of(cfg))
    if checkpoint:
        cfg.resume, cfg.load_from = True, checkpoint
        return [*damaged, *([f"--resume: goes on from {checkpoint}, the newest whole checkpoint"] if damaged else [])]
    cfg.resume = bool(cfg.get("resume") and cfg.get("load_from"))
    if cfg.resume:
        return []
    start = f"from the weights of load_from={cfg.load_from!r}" if cfg.get("load_from") else "from initial weights"
    return [f"--resume: {cfg.work_dir!r} holds no checkpoint; the run starts anew, at step 0, {start}"]


def begin(cfg: "Config", *, auto: bool) -> list[str]:
    """Finds and checks the checkpoint that the run begins with or goes on from; what is to be said of it."""
    from finevit.engine.checkpoints import check_loadable, check_resumable

    told = find(cfg, auto=auto)
    if cfg.get("load_from"):
        (check_resumable if cfg.get("resume") else check_loadable)(cfg.load_from)
    return told


def run(cfg: "Config", asked: Asked, told: list[str]) -> None:
    """Trains, with a console for people, which begins with what they are ``told``, and a log file that has everything."""
    from finevit.engine.hooks.ending_hook import EndingHook, saving
    from finevit.engine.hooks.loader_watch_hook import watch_of
    from finevit.engine.hooks.report_hook import check_told
    from finevit.engine.hooks.strides_hook import check_strides
    from finevit.engine.progress import ConsoleHook, QuietRunner
    from finevit.engine.work_dir import EarlierRunHook
    from finevit.plugins import loaded_plugins

    runner, console = QuietRunner.from_cfg(cfg), ConsoleHook()
    runner.register_hook(EarlierRunHook())
    runner.register_hook(console)
    ending = EndingHook(asked=asked, watch=watch_of(runner))
    runner.register_hook(ending)
    check_strides(runner.model)
    runner.message_hub.update_info("plugins", [plugin._asdict() for plugin in loaded_plugins()])  # goes into checkpoints
    for line in told:
        runner.logger.warning(line)
    with console.closing(runner), saving(runner, ending):
        runner.train()
    check_told(runner)
