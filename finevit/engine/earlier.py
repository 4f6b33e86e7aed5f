"""What an earlier run left in a new run's work dir is moved aside, so that the files of two runs never mix."""

import re
from collections.abc import Iterator
from pathlib import Path

from mmengine.dist import barrier, is_main_process
from mmengine.hooks import CheckpointHook, Hook
from mmengine.runner import Runner

TESTS = "test_logs"
"""Where ``tools/test.py`` leaves MMEngine's files, so that the config of a run stays beside its checkpoints."""
LEFT = (
    *("iter_*.pth", "epoch_*.pth", "best_*.pth", "*.pth.unfinished", "last_checkpoint"),
    *("results.json", "report.html", "report_before.pt", "plan_check.json", "bad_samples*.txt", "nonfinite_steps.txt"),
    TESTS,
)
"""What runs and tests leave in a work dir, beside a folder for each start. A plan was made for the run that comes; it stays."""
START = re.compile(r"\d{8}_\d{6}")


class EarlierRunHook(Hook):
    """Moves what an earlier run left in the work dir into ``before_<start of this run>`` there, and says so.

    That is once the data is open and the weights are loaded, which may be those of the earlier run. A run that goes on, from a
    checkpoint of its work dir, leaves all as it is. ``tools/train.py`` gives the hook to every run.
    """

    priority = "HIGHEST"

    def before_train(self, runner: Runner) -> None:
        folders = list(dict.fromkeys(folder.resolve() for folder in (Path(runner.work_dir), *_checkpoint_folders(runner))))
        begun = runner._load_from and Path(runner._load_from).resolve()
        goes_on = runner._resume and runner._has_loaded and (not begun or begun.parent in folders)
        if is_main_process() and not goes_on:
            for folder in folders:
                self._move(runner, folder)
            if begun and (moved := begun.parent / _aside(runner) / begun.name).exists():
                runner.cfg.load_from = str(moved)  # checkpoints say where their run began
        barrier()

    @staticmethod
    def _move(runner: Runner, folder: Path) -> None:
        aside, found = folder / _aside(runner), sorted(set(_left(runner, folder)))
        for path in found:
            aside.mkdir(exist_ok=True)
            path.rename(aside / path.name)
        if found:
            names = ", ".join(path.name for path in found[:5]) + (f" and {len(found) - 5} more" if len(found) > 5 else "")
            runner.logger.warning(f"{folder} held files of an earlier run; they are now in {aside}: {names}")


def _aside(runner: Runner) -> str:
    return f"before_{runner.timestamp}"


def _left(runner: Runner, folder: Path) -> Iterator[Path]:
    templates = [hook.filename_tmpl for hook in runner.hooks if isinstance(hook, CheckpointHook) and hook.filename_tmpl]
    for pattern in (*LEFT, *(template.replace("{}", "*") for template in templates)):
        yield from folder.glob(pattern)
    if (folder / "probes/results.json").exists():
        yield folder / "probes"
    for path in folder.iterdir() if folder.is_dir() else ():
        if START.fullmatch(path.name) and path.name != runner.timestamp:
            yield path


def _checkpoint_folders(runner: Runner) -> Iterator[Path]:
    """Where ``CheckpointHook.out_dir`` leads, as MMEngine joins it."""
    for hook in runner.hooks:
        if isinstance(hook, CheckpointHook) and hook.out_dir and "://" not in str(hook.out_dir):
            yield Path(hook.out_dir) / Path(runner.work_dir).name
