"""What the console of a run shows and what only the log file has; the bar, and how it reckons the time that is left."""

import io
import logging
import signal
import warnings
from types import SimpleNamespace

import pytest
import torch
from mmengine.logging import HistoryBuffer, MMLogger
from mmengine.runner import EpochBasedTrainLoop
from rich.console import Console

from finevit import console
from finevit.console import ConsoleHandler, aligned, quiet_libraries, say, take_over
from finevit.engine import progress
from finevit.engine.hooks import ending_hook
from finevit.engine.hooks.ending_hook import EndingHook, saving
from finevit.engine.hooks.loader_watch_hook import LoaderWatchHook
from finevit.engine.progress import ConsoleHook, checks_left, clock, results, speed
from finevit.signals import Asked


@pytest.fixture
def logger(tmp_path, request) -> MMLogger:
    made = MMLogger.get_instance(request.node.name, log_file=str(tmp_path / "log"))
    take_over(made)
    yield made
    made.handlers[1].close()
    MMLogger._instance_dict.pop(request.node.name)


def test_the_console_shows_what_is_said_and_warnings_and_the_file_everything(logger, tmp_path, capsys):
    said = ["stage: [red]I[/red] :smile:", "a line that is longer than any terminal " * 9]
    for line in said:
        say(line, logger)
    logger.info("Hooks will be executed in the following order")
    logger.debug("nobody asked")
    logger.warning("torn.jpg is damaged")
    logger.warning("torn.jpg is damaged")
    logger.warning('"FileClient" will be DEPRECATED in future')
    logger.warning("llm.model.lm_head is duplicate. It is skipped since bypass_duplicate=True")
    logger.error("no room on the disk")
    shown = capsys.readouterr().out.splitlines()
    assert shown[:2] == said
    assert [line.partition(" - ")[2] for line in shown[2:]] == ["WARNING - torn.jpg is damaged", "ERROR - no room on the disk"]
    log = (tmp_path / "log").read_text()
    for line in (*said, "Hooks will be", "torn.jpg is damaged", "FileClient", "no room"):
        assert line in log
    assert "nobody" not in log


def test_a_wall_of_lines_is_cut_on_the_console_alone(logger, tmp_path, capsys):
    logger.warning("missing keys:\n" + "\n".join(f"key {index}" for index in range(50)))
    shown = capsys.readouterr().out.splitlines()
    assert len(shown) == 13
    assert shown[-1] == "... 39 more lines are in the log file"
    assert "key 49" in (tmp_path / "log").read_text()
    say("\n".join(f"metric {index}" for index in range(50)), logger)
    assert capsys.readouterr().out.splitlines() == [f"metric {index}" for index in range(50)]


def test_other_ranks_and_a_silent_level_show_errors_alone(capsys):
    other = logging.Logger("other")
    other.addHandler(logging.StreamHandler())
    other.handlers[0].setLevel(logging.ERROR)
    take_over(other)
    say("nothing", other)
    other.warning("nothing")
    other.error("all of it is lost")
    assert [type(handler) for handler in other.handlers] == [ConsoleHandler]
    assert capsys.readouterr().out.endswith("ERROR - all of it is lost\n")


def test_warnings_of_libraries_wait_for_the_log_file_and_are_not_shown(tmp_path, capsys):
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        with quiet_libraries():
            warnings.warn("before there was a file", FutureWarning, stacklevel=1)
            early = MMLogger.get_instance("early", log_file=str(tmp_path / "log"))
            take_over(early)
            warnings.warn("and after", DeprecationWarning, stacklevel=1)
            log = (tmp_path / "log").read_text()
    assert "FutureWarning: before there was a file" in log
    assert "DeprecationWarning: and after" in log
    assert capsys.readouterr() == ("", "")
    assert logging.getLogger("py.warnings").handlers == []
    early.handlers[1].close()
    MMLogger._instance_dict.pop("early")


def runner(*, step: int = 0, steps: int = 100, interval: int = 30, validates: bool = True, logger=None) -> SimpleNamespace:
    values = {"train/loss": [3.0, 1.0], "train/lr": [1e-3, 5e-4], "train/time": [2.0, 4.0], "train/images_per_s": [8.0, 4.0]}
    return SimpleNamespace(
        iter=step,
        max_iters=steps,
        rank=0,
        logger=logger,
        train_loop=SimpleNamespace(max_iters=steps, val_interval=interval),
        val_loop=object() if validates else None,
        val_dataloader=range(5),
        message_hub=SimpleNamespace(
            log_scalars={name: HistoryBuffer(value, [1] * len(value)) for name, value in values.items()}, runtime_info={}
        ),
    )


@pytest.mark.parametrize(
    ("step", "steps", "interval", "left"),
    [
        (1, 100, 30, 4),  # at 30, 60, 90 and for the report
        (30, 100, 30, 3),
        (90, 100, 30, 1),
        (1, 90, 30, 3),
        (89, 90, 30, 1),
        (90, 90, 30, 0),
        (1, 100, 1000, 1),
        (100, 100, 1000, 1),
    ],
)
def test_the_validations_that_are_left(step, steps, interval, left):
    assert checks_left(runner(steps=steps, interval=interval), step) == left
    assert checks_left(runner(steps=steps, interval=interval, validates=False), step) == 0


def test_the_validations_that_are_left_of_epochs():
    loop = EpochBasedTrainLoop.__new__(EpochBasedTrainLoop)
    loop._max_epochs, loop.val_interval = 7, 2
    assert checks_left(SimpleNamespace(train_loop=loop, val_loop=object(), epoch=0), 1) == 3
    assert checks_left(SimpleNamespace(train_loop=loop, val_loop=object(), epoch=5), 1) == 1


def test_the_time_that_is_left_has_the_validations_in_it():
    hook, run = ConsoleHook(), runner()
    hook._check_seconds = 60.0
    # 90 steps of 3 s, and the validations at 30, 60, 90 and at the end
    assert hook._told(run, 10) == f"loss: 2.0000  lr: 5.0e-04  6.0 images/s  eta: {clock(90 * 3 + 4 * 60)}"
    hook._check_seconds = None  # no validation yet: as if its 5 batches took as long as steps
    assert hook._told(run, 10).endswith(f"eta: {clock(90 * 3 + 4 * 15)}")


def test_images_per_second_of_any_loader():
    """Detection has no ThroughputHook."""
    run = runner()
    assert speed(run, 3.0) == 6.0
    del run.message_hub.log_scalars["train/images_per_s"]
    run.world_size, run.train_dataloader = 2, torch.utils.data.DataLoader(range(9), batch_size=4)
    assert speed(run, 2.0) == 4.0


@pytest.mark.parametrize("steps", [1, 7, 40, 41, 600, 100_000])
def test_without_a_terminal_a_run_has_few_lines_and_always_the_last(logger, capsys, steps):
    hook = ConsoleHook()
    run = runner(steps=steps, logger=logger)
    hook.before_train(run)
    for run.iter in range(steps):
        hook.after_train_iter(run, run.iter)
    lines = capsys.readouterr().out.splitlines()
    assert min(steps, 20) <= len(lines) <= 42
    assert lines[0].startswith(f"Iter(train) [{1:{len(str(steps))}}/{steps}]  loss: 2.0000  lr: 5.0e-04  6.0 images/s  eta: ")
    assert lines[-1].startswith(f"Iter(train) [{steps}/{steps}]")
    assert "\r" not in "".join(lines)


def interrupted(hook: ConsoleHook, ending: EndingHook, run: SimpleNamespace) -> None:
    """A step, a validation with a warning, and an end by Ctrl-C."""
    with hook.closing(run), saving(run, ending):
        hook.before_train(run)
        hook.after_train_iter(run, 0)
        hook.before_val_epoch(run)
        hook.after_val_iter(run, 1)
        run.logger.warning("torn.jpg is damaged")
        hook.after_val_epoch(run, {f"stage1/{index}": index / 8 for index in range(7)})
        ending.asked.number = signal.SIGINT
        ending.after_val_iter(run, 2)


@pytest.mark.parametrize("kept", [True, False])
def test_in_a_terminal_there_is_a_bar_with_what_is_said_above_it(logger, monkeypatch, kept):
    terminal = io.StringIO()
    screen = Console(file=terminal, force_terminal=True, width=100, highlight=False, markup=False)
    monkeypatch.setattr(console, "screen", lambda: screen)
    monkeypatch.setattr(progress, "screen", lambda: screen)
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    monkeypatch.setattr(progress, "OFTEN", 0)
    hook, run = ConsoleHook(), runner(logger=logger)
    run.world_size, run.optim_wrapper, run._resume = 1, None, False
    ending = EndingHook(asked=Asked(), watch=LoaderWatchHook())
    ending.begun = -1 if kept else 0
    monkeypatch.setattr(ending_hook, "save_now", lambda run: f"work/iter_{run.iter}.pth")
    run.hooks = []
    with pytest.raises(SystemExit) as ended:
        interrupted(hook, ending, run)
    drawn = terminal.getvalue()
    assert ended.value.code == 130
    for shown in ("training", "1/100", "loss: 2.0000", "6.0 images/s", "validating", "2/5", "WARNING - torn.jpg is damaged"):
        assert shown in drawn
    assert "validation at step 0  stage1/0: 0.0000" in drawn
    assert "(2 more in the log file)" in drawn
    going_on = "saved step 0 of 100 in work/iter_0.pth; to go on: the same command with --resume"
    anew = "no step was finished, so there is nothing to save; the same command starts anew"
    assert f"SIGINT: {going_on if kept else anew}" in " ".join(drawn.split())
    assert drawn.count("\x1b[?25l") == drawn.count("\x1b[?25h") == 1  # the cursor is back


def test_results_are_a_table():
    assert results({0: {"r1": 0.1}, 40: {"r1": 0.2}, 80: {"r1": 0.25, "probe": 1.0}}).splitlines() == [
        "results  untrained  step 80",
        "───────────────────────────",
        "r1          0.1000   0.2500",
        "probe                1.0000",
    ]
    assert results({3: {"r1": 0.1}}).splitlines()[0] == "results  step 3"
    assert aligned([["a", "b"], ["longer", "1"]]) == "a       b\n─────────\nlonger  1"
