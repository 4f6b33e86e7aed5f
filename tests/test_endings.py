"""How a run ends before its last step: by a signal, by a loader that is stuck, by a worker that died; what is saved and said."""

import os
import re
import signal
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from multiprocessing import active_children
from pathlib import Path
from types import SimpleNamespace

import pytest
from mmengine.hooks import Hook
from test_checkpoints import names
from torch.utils.data import DataLoader, Dataset
from torch.utils.data._utils.signal_handling import _set_SIGCHLD_handler
from torch.utils.data.dataloader import _MultiProcessingDataLoaderIter

from finevit.datasets import worker_board
from finevit.datasets.worker_board import _begin, died
from finevit.engine.hooks import ending_hook, loader_watch_hook
from finevit.engine.hooks.checkpoint_hook import DurableCheckpointHook
from finevit.engine.hooks.ending_hook import EndingHook, saving
from finevit.engine.hooks.loader_watch_hook import LoaderWatchHook, watched
from finevit.signals import Asked, Stuck, kill_workers

LIMIT = 0.3
"""Seconds that a loader may yield nothing where it hangs."""


class Records(Dataset):
    """Numbers, of which some stop who reads them."""

    def __init__(self, count: int = 12, **stops: int) -> None:
        self.count, self.stops = count, stops
        self.source = SimpleNamespace(rows=range(count), image_at=lambda row: (f"/data/{row}.jpg",))

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> int:
        worker_board.at(index)
        if index == self.stops.get("hangs"):
            time.sleep(60)
        if index == self.stops.get("dies"):
            os.kill(os.getpid(), signal.SIGKILL)
        if index == self.stops.get("stopped"):
            os.kill(os.getpid(), signal.SIGSTOP)
        worker_board.at()
        return index


class Run:
    """What hooks see of a runner, and a loop that calls those of a step, of a validation every fourth, and of the end."""

    def __init__(self, work_dir: Path, data: Dataset | None = None, *, workers: int = 0, accumulated: int = 1) -> None:
        self.work_dir, self.hook = str(work_dir), DurableCheckpointHook(by_epoch=False, interval=-1)
        self.epoch, self.max_iters, self.world_size, self.rank = 0, 12, 1, 0
        self._resume, self._load_from = False, None
        self.train_loop = SimpleNamespace(_iter=0)
        self.train_dataloader = DataLoader(data or Records(), batch_size=None, num_workers=workers)
        self.val_dataloader = DataLoader(Records(2), batch_size=None)
        self.optim_wrapper = SimpleNamespace(should_update=lambda: self.batches % accumulated == 0)
        self.message_hub = SimpleNamespace(get_info=lambda name, default=None: default, update_info=lambda *_: None)
        self.said: list[str] = []
        self.logger = SimpleNamespace(info=self._log, warning=self._log)
        self.watch = LoaderWatchHook(minutes=1.0)
        self.asked = Asked()
        self.ending = EndingHook(asked=self.asked, watch=self.watch)
        self.hooks, self.batches = [self.hook, self.watch, self.ending], 0

    @property
    def iter(self) -> int:
        return self.train_loop._iter

    def _log(self, line: str, **extra: object) -> None:
        self.said.append(line)

    def save_checkpoint(self, out_dir: str, filename: str, *_: object, **__: object) -> None:
        Path(out_dir, filename).write_text(str(self.iter))

    def call(self, name: str, *arguments: object) -> None:
        for hook in self.hooks:
            getattr(hook, name)(self, *arguments)

    def train(self, at: Callable[[str, int], None] = lambda where, step: None) -> None:
        """``at`` is called in each step and in each validation."""
        with saving(self, self.ending):
            self.call("before_train")
            self.call("before_train_epoch")
            batches = iter(self.train_dataloader)
            while self.iter < self.max_iters:
                next(batches)
                self.call("before_train_iter", self.iter)
                at("step", self.iter + 1)
                self.batches += 1
                self.call("after_train_iter", self.iter)
                self.train_loop._iter += 1
                if self.iter % 4 == 0:
                    self.validate(at)
            self.call("after_train")

    def validate(self, at: Callable[[str, int], None]) -> None:
        self.call("before_val")
        self.call("before_val_epoch")
        for index, _ in enumerate(self.val_dataloader):
            self.call("before_val_iter", index)
            at("validation", self.iter)
            self.call("after_val_iter", index)
        self.call("after_val_epoch", {})
        self.call("after_val")


@pytest.fixture(autouse=True)
def handlers(monkeypatch) -> Iterator[None]:
    """The watch takes two signals of its own, and its thread lives on, with nothing to watch."""
    begun: list[LoaderWatchHook] = []
    monkeypatch.setattr(LoaderWatchHook, "_start", lambda self, start=LoaderWatchHook._start: (begun.append(self), start(self)))
    _set_SIGCHLD_handler()  # torch does so once in a process
    before = {number: signal.getsignal(number) for number in (signal.SIGALRM, signal.SIGCHLD)}
    monkeypatch.setattr(ending_hook, "TOGETHER", 0.0)
    yield
    for watch in begun:
        watch.came()
    time.sleep(LIMIT / 10)
    for number, handler in before.items():
        signal.signal(number, handler)


def train_until_stuck(run: Run, *, after: int, stops: bool = False) -> str:
    """The error; the watch begins in a step, so that a slow machine is not taken for a stuck loader."""
    run.watch.minutes, starts = LIMIT / 60, run.watch._start
    run.watch._start = lambda: None if after else starts()

    def at(where: str, step: int) -> None:
        if (where, step) == ("step", after):
            hold_worker(run, record=after, stops=stops)
            starts()

    with pytest.raises(ValueError, match="has yielded nothing") as caught:
        run.train(at)
    return str(caught.value)


def hold_worker(run: Run, *, record: int, stops: bool) -> None:
    """Waits until the worker, if there is one, is at a record; then stops it, or leaves it there."""
    loader = run.watch._loaders[id(run.train_dataloader)]
    while loader.workers and loader.board.rows()[0][2] != record:
        time.sleep(0.01)
    if stops:
        (worker,) = active_children()
        os.kill(worker.pid, signal.SIGSTOP)
        os.waitid(os.P_PID, worker.pid, os.WSTOPPED | os.WNOWAIT)


def asks(number: int, where: str, step: int, run: Run) -> Callable[[str, int], None]:
    def at(place: str, now: int) -> None:
        if (place, now) == (where, step):
            run.asked.number = number

    return at


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("where", ["step", "validation"])
def test_a_signal_ends_the_run_after_the_step_with_a_checkpoint(tmp_path, number, where):
    run = Run(tmp_path)
    with pytest.raises(SystemExit) as ended:
        run.train(asks(number, where, 4, run))
    assert ended.value.code == 128 + number
    assert names(tmp_path) == ["iter_4.pth", "last_checkpoint"]
    assert (tmp_path / "iter_4.pth").read_text() == "4"
    going_on = "to go on: the same command with --resume"
    assert run.said[-1] == f"{number.name}: saved step 4 of 12 in {tmp_path}/iter_4.pth; {going_on}"


class AfterStep(Hook):
    """Calls something after one of the steps."""

    def __init__(self, step: int, call: Callable[[], None]) -> None:
        self.step, self.call = step, call

    def after_train_iter(self, run: Run, *_: object) -> None:
        if run.iter + 1 == self.step:
            self.call()


class AfterTrain(Hook):
    """Calls something after all the hooks of the end."""

    def __init__(self, call: Callable[[], None]) -> None:
        self.call = call

    def after_train(self, run: Run) -> None:
        self.call()


def test_the_validation_of_the_untrained_model_is_finished_first(tmp_path):
    """It is in the first step, and no later start could make up for it."""
    run, at = Run(tmp_path), []
    run.hooks.insert(2, AfterStep(1, lambda: run.validate(lambda *_: (at.append(1), run.asked._break_off(signal.SIGTERM, None)))))
    with pytest.raises(SystemExit):
        run.train()
    assert len(at) == len(run.val_dataloader) == 2
    assert "saved step 1 of 12 in" in run.said[-1]


def test_a_signal_between_the_end_of_a_step_and_its_count_loses_none(tmp_path):
    run = Run(tmp_path)
    run.hooks.append(AfterStep(4, lambda: run.asked._break_off(signal.SIGTERM, None)))
    with pytest.raises(SystemExit):
        run.train()
    assert names(tmp_path) == ["iter_4.pth", "last_checkpoint"]
    assert (tmp_path / "iter_4.pth").read_text() == "4"


def test_saving_is_no_wait_for_a_loader(tmp_path):
    """A signal ends the wait in which it comes, however long the save takes."""
    run = Run(tmp_path)
    save = run.save_checkpoint
    run.save_checkpoint = lambda *arguments, **options: (time.sleep(1.5 * LIMIT), save(*arguments, **options))
    with pytest.raises(SystemExit):
        run.train(asks(signal.SIGTERM, "validation", 4, run))
    assert names(tmp_path) == ["iter_4.pth", "last_checkpoint"]


def test_a_signal_at_the_end_of_a_run_has_its_code(tmp_path):
    run = Run(tmp_path)
    run.hooks.append(AfterTrain(lambda: setattr(run.asked, "number", signal.SIGHUP)))
    with pytest.raises(SystemExit) as ended:
        run.train()
    assert ended.value.code == 129
    assert "saved step 12 of 12 in" in run.said[-1]


def test_an_accumulation_is_finished_first(tmp_path):
    run = Run(tmp_path, accumulated=3)
    with pytest.raises(SystemExit):
        run.train(asks(signal.SIGTERM, "step", 4, run))
    assert names(tmp_path) == ["iter_6.pth", "last_checkpoint"]


def test_a_loader_that_is_stuck_in_an_accumulation_leaves_no_half_of_it(tmp_path):
    said = train_until_stuck(Run(tmp_path, Records(hangs=4), accumulated=3), after=4)
    assert "an accumulation of gradients is under way, which no checkpoint holds; to go on from the newest: --resume" in said
    assert names(tmp_path) == []


def test_a_checkpoint_that_the_run_has_just_written_is_not_written_again(tmp_path):
    run = Run(tmp_path)
    run.hook.interval = 2
    run.save_checkpoint = lambda out_dir, filename, *_, **__: run.said.append(f"writes {filename}")
    with pytest.raises(SystemExit):
        run.train(asks(signal.SIGTERM, "step", 4, run))
    assert [line for line in run.said if line.startswith("writes")] == ["writes iter_2.pth", "writes iter_4.pth"]
    assert "saved step 4 of 12 in" in run.said[-1]


def test_where_no_step_was_finished_nothing_is_saved(tmp_path):
    said = train_until_stuck(Run(tmp_path, Records(hangs=0)), after=0)
    assert said.endswith("no step was finished, so there is nothing to save; the same command starts anew")
    assert names(tmp_path) == []
    run = Run(tmp_path, Records(hangs=0))
    run.train_loop._iter, run._resume, run._load_from = 7, True, "work/iter_7.pth"
    said = train_until_stuck(run, after=0)
    assert said.endswith("no step was finished since work/iter_7.pth; to go on: the same command with --resume")
    assert names(tmp_path) == []


def test_a_signal_while_the_main_thread_waits_for_data_does_not_wait_with_it(tmp_path):
    run = Run(tmp_path, Records(hangs=5))
    sends = threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGTERM))
    begin = time.monotonic()
    with pytest.raises(SystemExit) as ended, run.asked.listening():
        run.train(lambda where, step: sends.start() if step == 5 else None)
    assert ended.value.code == 143
    assert time.monotonic() - begin < 20
    assert names(tmp_path) == ["iter_5.pth", "last_checkpoint"]


def test_where_the_main_process_reads_a_record_that_hangs_is_named_and_the_run_saved(tmp_path, monkeypatch):
    run, warned = Run(tmp_path, Records(hangs=5)), []
    monkeypatch.setattr(loader_watch_hook, "print_log", lambda line, **_: warned.append(line))
    said = train_until_stuck(run, after=5)
    assert re.fullmatch(
        rf"train_dataloader has yielded nothing for 0 s: the main process \(pid {os.getpid()}, \w+\) at record 5 "
        rf"\('/data/5\.jpg'\) for 0 s; LoaderWatchHook\.minutes=0\.005 are over\. saved step 5 of 12 in {tmp_path}/iter_5\.pth; "
        "to go on: the same command with --resume",
        said,
    )
    assert names(tmp_path) == ["iter_5.pth", "last_checkpoint"]
    assert run.said[-1] == f"the run ended: {said}"
    assert len(warned) == 1
    assert re.search(r"at record 5 .* the run ends in 0 s more \(LoaderWatchHook\.minutes=0\.005\)$", warned[0])


@pytest.mark.parametrize(("stops", "state"), [(False, "waiting"), (True, "stopped by a signal")])
def test_a_worker_that_is_stuck_is_named_with_its_record_and_ended(tmp_path, stops, state):
    said = train_until_stuck(Run(tmp_path, Records(hangs=5), workers=1), after=5, stops=stops)
    told = rf"worker 0 \(pid (\d+), {state}\) at record 5 \('/data/5\.jpg'\) for \d s; LoaderWatchHook"
    pid = int(re.search(told, said)[1])
    assert f"saved step 5 of 12 in {tmp_path}/iter_5.pth" in said
    assert not Path(f"/proc/{pid}").exists()


def test_a_worker_that_died_is_named_and_the_run_saved(tmp_path):
    run = Run(tmp_path, Records(dies=5), workers=1)
    with pytest.raises(
        ValueError, match=r"worker 0 of train_dataloader \(pid \d+\) (is killed by signal: Killed|exited unexp)"
    ) as caught:
        run.train(lambda where, step: time.sleep(0.02))
    assert "; mostly for want of memory (free -h; df -h /dev/shm; dmesg): give fewer num_workers" in str(caught.value)
    step = int(re.search(r"saved step (\d+) of 12", str(caught.value))[1])
    assert 1 <= step <= 5
    assert names(tmp_path) == [f"iter_{step}.pth", "last_checkpoint"]


def test_a_worker_that_dies_with_a_signal_to_the_run_is_no_fault(tmp_path):
    run = Run(tmp_path, Records(dies=5), workers=1)
    run.ending.end = lambda runner: None  # it is heard of after the worker's death
    with pytest.raises(SystemExit) as ended:
        run.train(lambda where, step: setattr(run.asked, "number", signal.SIGTERM))
    assert ended.value.code == 143


def test_other_errors_are_handed_on(tmp_path):
    def at(where: str, step: int) -> None:
        raise RuntimeError("shapes do not fit")

    with pytest.raises(RuntimeError, match="shapes do not fit"):
        Run(tmp_path).train(at)
    assert died(RuntimeError("shapes do not fit")) == died(ValueError("DataLoader worker (pid 1) exited unexpectedly")) == ""


@pytest.mark.parametrize(
    ("said", "told"),
    [
        (
            "DataLoader worker (pid(s) 7, 8) exited unexpectedly",
            "a worker of a loader (pid 7) exited unexpectedly; mostly for want",
        ),
        ("DataLoader worker (pid 7) is killed by signal: Bus error. It is possible that", "is killed by signal: Bus error; mostly"),
        (
            "Caught RuntimeError in DataLoader worker process 0.\nunable to write to file </torch_7_8_9>: No space left",
            "found no room in shared memory (df -h /dev/shm): give fewer num_workers",
        ),
        ("DataLoader worker (pid 7) is killed by signal: Aborted. ", "is killed by signal: Aborted; num_workers=0 shows where"),
    ],
)
def test_how_a_worker_died_is_told_with_what_helps(said, told):
    assert told in died(RuntimeError(said))


class Unsendable(Dataset):
    """Samples that no worker can hand on, as where shared memory is full."""

    def __len__(self) -> int:
        return 4

    def __getitem__(self, index: int) -> object:
        return lambda: index


def test_a_worker_that_cannot_hand_on_what_it_read_ends(capfd):
    loader = DataLoader(Unsendable(), batch_size=None, num_workers=1, worker_init_fn=partial(_begin, worker_board.Board(1), None))
    with pytest.raises(RuntimeError) as ended:
        next(iter(loader))
    assert "exited unexpectedly; mostly for want of memory" in died(ended.value)
    assert "a worker cannot hand on what it has read (" in capfd.readouterr().err


@pytest.mark.parametrize("minutes", [0, -1, float("nan"), "ten", True])
def test_minutes_of_the_watch_that_are_none_are_named(minutes):
    with pytest.raises(ValueError, match=r"LoaderWatchHook\.minutes=.*: give minutes \(inf: no limit\), above 0"):
        LoaderWatchHook(minutes=minutes)


@pytest.mark.parametrize(("how", "state"), [("hangs", "waiting"), ("stopped", "stopped by a signal")])
def test_the_loader_of_a_tool_is_watched_too(monkeypatch, how, state):
    monkeypatch.setattr(loader_watch_hook, "MINUTES", LIMIT / 60)
    loader = DataLoader(Records(**{how: 3}), batch_size=None, num_workers=1)
    with pytest.raises(Stuck, match=rf"images has yielded nothing .*worker 0 \(pid \d+, {state}\) at record 3 \('/data/3.jpg'\)"):
        list(watched(loader, "images"))
    assert kill_workers()


def test_of_two_workers_that_die_together_one_is_told_and_the_run_saves(tmp_path):
    run = Run(tmp_path, Records(64), workers=2)

    def kill(*_: object) -> None:
        for worker in active_children():
            os.kill(worker.pid, signal.SIGKILL)
            os.waitid(os.P_PID, worker.pid, os.WEXITED | os.WNOWAIT)

    save = run.save_checkpoint
    run.save_checkpoint = lambda *arguments, **options: (os.kill(os.getpid(), signal.SIGCHLD), save(*arguments, **options))
    run.hooks.insert(0, AfterStep(3, kill))
    said = r"worker \d of train_dataloader .*(?:is killed by signal|exited unexpectedly).* saved step (\d) of 12"
    with pytest.raises(ValueError, match=said) as caught:
        run.train()
    step = int(re.search(said, str(caught.value))[1])
    assert step == 3
    assert names(tmp_path) == ["iter_3.pth", "last_checkpoint"]


@pytest.mark.parametrize("persistent_workers", [False, True])
def test_a_worker_killed_with_a_lock_holds_nothing_up(persistent_workers):
    """A worker looks at an event of torch's after each record, and the end of a loader sets it."""
    batches = iter(DataLoader(Records(), batch_size=None, num_workers=1, persistent_workers=persistent_workers))
    next(batches)
    batches._workers_done_event._cond.acquire()
    assert kill_workers()
    ends = threading.Thread(target=batches.__del__, daemon=True)
    ends.start()
    ends.join(10)
    assert not ends.is_alive()


def test_a_death_is_told_once():
    """A second SIGCHLD, while what becomes of the first is under way, does nothing."""
    watch, told = LoaderWatchHook(), []

    def dead(*_: object) -> None:
        told.append(signal.getsignal(signal.SIGCHLD))
        raise RuntimeError("DataLoader worker (pid 7) is killed by signal: Killed. ")

    watch._of_child = dead
    with pytest.raises(RuntimeError, match="is killed"):
        watch.wait_for(Records(), "train_dataloader")
    signal.raise_signal(signal.SIGCHLD)
    assert told == [signal.SIG_DFL]


def test_a_death_during_the_look_for_dead_workers_is_heard_of():
    watch, told = LoaderWatchHook(), []

    def dead(*_: object) -> None:
        told.append(signal.getsignal(signal.SIGCHLD))
        if len(told) > 1:
            raise RuntimeError("DataLoader worker (pid 7) is killed by signal: Killed. ")

    watch._of_child = dead
    with pytest.raises(RuntimeError, match="is killed"):
        watch.wait_for(Records(), "train_dataloader")
    assert told == [signal.SIG_DFL, watch._child]
    assert signal.getsignal(signal.SIGCHLD) == signal.SIG_DFL


def test_a_worker_whose_connection_breaks_before_its_death_is_heard_of_is_named(tmp_path, monkeypatch):
    get, got = _MultiProcessingDataLoaderIter._try_get_data, []

    def broken(self, *arguments, **options):
        if len(got) == 3:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            os.kill(self._workers[0].pid, signal.SIGKILL)
            raise ConnectionResetError(104, "Connection reset by peer")
        got.append(get(self, *arguments, **options))
        return got[-1]

    monkeypatch.setattr(_MultiProcessingDataLoaderIter, "_try_get_data", broken)
    killed = r"^worker 0 of train_dataloader \(pid \d+\) is killed by signal: Killed; mostly .* saved step 3 of 12"
    with pytest.raises(ValueError, match=killed):
        Run(tmp_path, Records(), workers=1).train()
    assert names(tmp_path) == ["iter_3.pth", "last_checkpoint"]
    assert died(ConnectionResetError(104, "of something else")) == ""
