"""Checkpoints: written whole or not at all, found whatever the note says, in a work dir of one run."""

import os
import resource
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from mmengine.hooks import CheckpointHook
from test_guard import run, same

from finevit.config.loading import ConfigError, load_config
from finevit.config.validation import check_config
from finevit.engine.checkpoints import save_now
from finevit.engine.hooks import checkpoint_hook
from finevit.engine.hooks.checkpoint_hook import DurableCheckpointHook, write
from finevit.engine.newest_checkpoint import newest, numbered_files
from finevit.engine.progress import QuietRunner
from finevit.engine.work_dir import EarlierRunHook, in_use
from finevit.plugins import load_plugins
from finevit.storage import durable
from finevit.storage.durable import check_digest, write_file

ROOT = Path(__file__).parents[1]


def put(path: Path, iteration: int, *, digest: bool = True) -> str:
    """A checkpoint of a run, as small as can be."""
    content = {"meta": {"iter": iteration, "epoch": 0}, "state_dict": {"a": torch.ones(64)}, "optimizer": {}}
    write_file(path, lambda file: torch.save(content, file), digest=digest)
    return str(path)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_write_that_is_killed_leaves_what_was_there(tmp_path, monkeypatch):
    def killed(_: object, file: object) -> None:
        file.write(b"half")
        raise KeyboardInterrupt

    write({"a": 1}, str(tmp_path / "iter_1.pth"))
    monkeypatch.setattr(torch, "save", killed)
    with pytest.raises(KeyboardInterrupt):
        write({"a": 2}, str(tmp_path / "iter_1.pth"))
    assert torch.load(tmp_path / "iter_1.pth") == {"a": 1}
    assert names(tmp_path) == ["iter_1.pth", "iter_1.pth.sha256"]
    assert check_digest(tmp_path / "iter_1.pth") == ""


@pytest.mark.parametrize("old", ["none", "of an earlier version", "with its SHA-256"])
def test_a_cut_between_any_two_operations_leaves_a_whole_file(tmp_path, monkeypatch, old):
    """Every sync and every rename may be the last thing that a run does."""
    for cut in range(20):
        path = tmp_path / str(cut) / "iter_1.pth"
        if old != "none":
            put(path, 1, digest=old.startswith("with"))
        left = iter(range(cut))

        def next_or_cut(left=left) -> None:
            if next(left, None) is None:
                raise KeyboardInterrupt

        with monkeypatch.context() as patched:
            for owner, name in ((durable.os, "fsync"), (Path, "replace")):
                real = getattr(owner, name)
                patched.setattr(owner, name, lambda *given, real=real: (next_or_cut(), real(*given))[1])
            patched.setattr(Path, "unlink", lambda self, missing_ok=False: None)  # a killed run removes nothing
            try:
                put(path, 2)
                break
            except KeyboardInterrupt:
                assert path.exists() or old == "none"
                assert not path.exists() or (check_digest(path) == "" and torch.load(path)["meta"]["iter"] in (1, 2))
    assert 6 <= cut < 20
    assert (check_digest(path), torch.load(path)["meta"]["iter"]) == ("", 2)
    assert len((path.parent / "iter_1.pth.sha256").read_text().splitlines()) == 1


def test_a_full_disk_is_named_and_leaves_what_was_there(tmp_path):
    path = tmp_path / "iter_1.pth"
    write({"a": 1}, str(path))
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (3 << 20, hard))
    try:
        with pytest.raises(ValueError, match=r"iter_2\.pth' cannot be written \(File too large\); those before it are whole"):
            write({"a": torch.zeros(2 << 20)}, str(tmp_path / "iter_2.pth"))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, before)
    assert names(tmp_path) == ["iter_1.pth", "iter_1.pth.sha256"]
    assert check_digest(path) == ""


class Run:
    """A runner with a hook and no training."""

    def __init__(self, work_dir: Path, hook: CheckpointHook) -> None:
        self.work_dir, self.hook, self.iter, self.epoch, self.hooks = str(work_dir), hook, 0, 0, [hook]
        self.max_iters, self.accumulated = 12, 1
        self.optim_wrapper = SimpleNamespace(should_update=lambda: (self.iter + 1) % self.accumulated == 0)
        self.info: dict = {}
        self.said: list[str] = []
        self.message_hub = SimpleNamespace(
            runtime_info=self.info,
            get_info=lambda name, default=None: self.info.get(name, default),
            update_info=self.info.__setitem__,
        )
        self.logger = SimpleNamespace(info=self.said.append, warning=self.said.append)
        hook.before_train(self)

    def save_checkpoint(self, out_dir: str, filename: str, *_: object, **__: object) -> None:
        from mmengine.runner import runner

        self.seen = names(Path(out_dir)) if Path(out_dir).exists() else []
        content = {"meta": {"iter": self.iter}, "state_dict": {}, "optimizer": {}, "message_hub": dict(self.info)}
        runner.save_checkpoint(content, os.path.join(out_dir, filename))

    def step(self) -> None:
        self.iter += 1
        self.hook._save_checkpoint_with_step(self, self.iter, {})

    def train(self, clock: "Clock", seconds: float = 20.0) -> dict[int, list[str]]:
        """Steps of so many seconds; the checkpoints that stand after each that saved one."""
        found = {}
        for step in range(self.max_iters):
            self.iter = step
            clock.now += seconds
            before = self.hook.last_ckpt
            self.hook.after_train_iter(self, self.iter)
            if self.hook.last_ckpt != before:
                found[self.iter + 1] = [name for name in names(Path(self.work_dir)) if name.endswith("pth")]
        return found


class Clock:
    """In the place of ``time``."""

    now = 0.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch) -> Clock:
    monkeypatch.setattr(checkpoint_hook, "time", made := Clock())
    return made


def test_the_old_checkpoint_goes_when_the_new_one_stands(tmp_path):
    run = Run(tmp_path, DurableCheckpointHook(interval=1, by_epoch=False, max_keep_ckpts=1))
    run.step()
    run.step()
    assert run.seen == ["iter_1.pth", "iter_1.pth.sha256", "last_checkpoint"]  # while the second is written
    assert names(tmp_path) == ["iter_2.pth", "iter_2.pth.sha256", "last_checkpoint"]
    assert (tmp_path / "last_checkpoint").read_text() == str(tmp_path / "iter_2.pth")


def test_a_digest_that_is_none_is_told_and_one_in_capitals_counts(tmp_path):
    path = tmp_path / "iter_1.pth"
    put(path, 1)
    digest = tmp_path / "iter_1.pth.sha256"
    digest.write_bytes(digest.read_bytes().upper().replace(b"\n", b"\r\n"))
    assert check_digest(path) == ""
    for content in (b"", b"\xff" * 99):
        digest.write_bytes(content)
        assert check_digest(path).startswith("cannot be verified: iter_1.pth.sha256 beside it holds no SHA-256; remove that")


def test_what_is_saved_within_an_epoch_is_named_by_its_step(tmp_path):
    run = Run(tmp_path / "run", DurableCheckpointHook(interval=1, by_epoch=True, out_dir=str(tmp_path / "out")))
    run.iter, run.epoch = 37, 2
    assert save_now(run) == str(tmp_path / "out/run/iter_37.pth")
    assert newest(run.work_dir, [{"out_dir": str(tmp_path / "out")}]) == (str(tmp_path / "out/run/iter_37.pth"), [])


def test_a_run_that_was_killed_before_the_old_one_went_removes_it_at_its_start(tmp_path):
    run = Run(tmp_path, DurableCheckpointHook(interval=1, by_epoch=False, max_keep_ckpts=1))
    run.step()
    run.hook._remove = lambda path: None
    run.step()
    assert {"iter_1.pth", "iter_2.pth"} < set(names(tmp_path))
    info = torch.load(tmp_path / "iter_2.pth")["message_hub"]
    again = Run.__new__(Run)
    again.__dict__ |= run.__dict__
    again.info.clear()
    again.info |= info
    DurableCheckpointHook(interval=1, by_epoch=False, max_keep_ckpts=1).before_train(again)
    assert names(tmp_path) == ["iter_2.pth", "iter_2.pth.sha256", "last_checkpoint"]


def test_the_best_so_far_goes_when_the_better_one_stands(tmp_path):
    run = Run(tmp_path, DurableCheckpointHook(interval=1, by_epoch=False, save_best="r1", rule="greater"))
    for score in (0.1, 0.3, 0.2):
        run.step()
        run.hook.after_val_epoch(run, {"r1": score})
    assert [name for name in names(tmp_path) if name.startswith("best")] == ["best_r1_iter_2.pth", "best_r1_iter_2.pth.sha256"]
    assert torch.load(tmp_path / "iter_2.pth")["message_hub"]["best_score"] == 0.3
    run = Run(tmp_path / "two", DurableCheckpointHook(interval=1, by_epoch=False, save_best=["a", "b"], rule="greater"))
    seen = []
    for a, b in ((1, 1), (2, 0)):
        run.step()
        run.hook.after_val_epoch(run, {"a": a, "b": b})
        seen.append(run.seen)
    assert "best_a_iter_1.pth" in seen[1]
    assert [name for name in names(tmp_path / "two") if name.startswith("best") and name.endswith("pth")] == [
        "best_a_iter_2.pth",
        "best_b_iter_1.pth",
    ]


@pytest.mark.parametrize(
    "note", [None, b"", b"gone/iter_9.pth", b"iter_2.pth", bytes(range(256)) * 40, b"x" * 5000, b"/before/the/move/iter_4.pth"]
)
def test_the_newest_is_found_whatever_the_note_says(tmp_path, note):
    for step in (2, 4, 10):
        put(tmp_path / f"iter_{step}.pth", step)
    put(tmp_path / "best_r1_iter_12.pth", 12)
    if note is not None:
        (tmp_path / "last_checkpoint").write_bytes(note)
    assert newest(str(tmp_path)) == (str(tmp_path / "iter_10.pth"), [])


def test_a_torn_one_is_named_and_the_next_older_taken(tmp_path):
    for step in (2, 4, 6, 8):
        put(tmp_path / f"iter_{step}.pth", step, digest=step != 8)
    with (tmp_path / "iter_6.pth").open("r+b") as file:
        file.seek(300)
        byte = file.read(1)[0]
        file.seek(300)
        file.write(bytes([byte ^ 1]))
    (tmp_path / "iter_8.pth").write_bytes((tmp_path / "iter_8.pth").read_bytes()[:500])
    found, faults = newest(str(tmp_path))
    assert found == str(tmp_path / "iter_4.pth")
    assert [Path(fault.split("'")[1]).name for fault in faults] == ["iter_8.pth", "iter_6.pth"]
    assert "its SHA-256 is" in faults[1]


def test_where_none_is_whole_nothing_starts_anew(tmp_path):
    assert newest(str(tmp_path)) == (None, [])
    (tmp_path / "iter_4.pth").write_bytes(b"")
    with pytest.raises(ValueError, match=r"(?s)holds checkpoints, but none that a run could go on from:\n.*iter_4\.pth"):
        newest(str(tmp_path))


def test_checkpoints_are_found_in_other_places_and_under_other_names(tmp_path):
    work_dir, large = tmp_path / "run", tmp_path / "large"
    hook = {"type": "CheckpointHook", "out_dir": str(large), "filename_tmpl": "ck_{:04d}.pt"}
    put(work_dir / "iter_3.pth", 3)
    put(large / "run/ck_0005.pt", 5)
    put(large / "run/ck_0005-0a1b2c3d.pt", 9)  # published
    assert newest(str(work_dir), [hook]) == (str(large / "run/ck_0005.pt"), [])
    put(work_dir / "epoch_2.pth", 7)
    assert newest(str(work_dir), [hook]) == (str(work_dir / "epoch_2.pth"), [])
    assert [number for number, _ in numbered_files(large / "run", "ck_{:04d}.pt")] == [5]


def test_a_note_counts_alone_where_nothing_else_is_there(tmp_path):
    elsewhere = put(tmp_path / "other/iter_4.pth", 4)
    (tmp_path / "run").mkdir()
    (tmp_path / "run/last_checkpoint").write_text(elsewhere)
    assert newest(str(tmp_path / "run")) == (elsewhere, [])
    (tmp_path / "run/last_checkpoint").write_text("s3://bucket/run/iter_4.pth")
    assert newest(str(tmp_path / "run")) == ("s3://bucket/run/iter_4.pth", [])
    put(tmp_path / "run/odd.pth", 2)
    (tmp_path / "run/last_checkpoint").write_text("/moved/odd.pth")
    assert newest(str(tmp_path / "run")) == (str(tmp_path / "run/odd.pth"), [])


def test_what_a_killed_run_left_half_is_removed_and_later_ones_moved_aside(tmp_path):
    for step in (2, 4, 6):
        put(tmp_path / f"iter_{step}.pth", step)
    (tmp_path / "iter_8.pth.unfinished").write_bytes(b"12345")
    (tmp_path / "iter_1.pth.sha256").write_text("0 iter_1.pth")
    (tmp_path / "mine.unfinished").touch()
    said: list[str] = []
    EarlierRunHook().before_train(
        SimpleNamespace(
            work_dir=str(tmp_path),
            hooks=[],
            timestamp="20260102_030405",
            iter=4,
            _resume=True,
            _has_loaded=True,
            _load_from=str(tmp_path / "iter_4.pth"),
            logger=SimpleNamespace(warning=said.append),
        )
    )
    kept = [f"iter_{step}.pth{end}" for step in (2, 4) for end in ("", ".sha256")]
    assert names(tmp_path) == ["before_20260102_030405", *kept, "mine.unfinished"]
    assert names(tmp_path / "before_20260102_030405") == ["iter_6.pth", "iter_6.pth.sha256"]
    assert said[0] == f"removed {tmp_path}/iter_8.pth.unfinished (5 bytes): a run was stopped while it wrote it"
    assert said[1].endswith("20260102_030405: iter_6.pth")


HOLD = """
import os, sys, time
from pathlib import Path
from finevit.engine.work_dir import in_use
with in_use([Path(sys.argv[1])], "none"):
    if os.fork() == 0:
        time.sleep(20)
    print("held", flush=True)
    time.sleep(20)
"""


@pytest.mark.slow
def test_a_work_dir_in_use_is_refused_and_a_killed_run_holds_nothing(tmp_path):
    run = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], cwd=ROOT, stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    try:
        assert run.stdout.readline() == "held\n"
        with (
            pytest.raises(ValueError, match=rf"another run uses '{tmp_path}': process {run.pid} on .* give another --work-dir"),
            in_use([tmp_path], "none"),
        ):
            pass
        with in_use([tmp_path], "pytorch", {"RANK": "1"}) as told:
            assert told == []
        os.kill(run.pid, signal.SIGKILL)
        run.wait()
        with in_use([tmp_path, tmp_path], "none") as told:  # its worker lives on
            assert told == []
    finally:
        os.killpg(run.pid, signal.SIGKILL)
        run.stdout.close()


def test_a_file_system_without_locks_is_told(tmp_path, monkeypatch):
    import fcntl

    def unsupported(*_: object) -> None:
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(fcntl, "flock", unsupported)
    with in_use([tmp_path], "none") as told:
        assert told == [
            f"{tmp_path} cannot be locked (Operation not supported): see to it that no other run uses it at the same time"
        ]


def by_minutes(minutes: float | None, **settings: object) -> DurableCheckpointHook:
    return DurableCheckpointHook(by_epoch=False, minutes=minutes, max_keep_ckpts=2, **settings)


def test_checkpoints_by_minutes_stand_beside_those_by_steps(tmp_path, clock):
    found = Run(tmp_path / "both", by_minutes(1, interval=5)).train(clock)
    assert [*found] == [3, 5, 8, 10, 12]  # a minute after the one before, of whatever reason, and every five steps
    assert found[8] == ["iter_5.pth", "iter_8.pth"]
    assert found[12] == ["iter_10.pth", "iter_12.pth"]
    assert [*Run(tmp_path / "steps", by_minutes(None, interval=5)).train(clock)] == [5, 10, 12]
    assert [*Run(tmp_path / "minutes", by_minutes(1.1)).train(clock)] == [4, 8, 12]
    assert [*Run(tmp_path / "late", by_minutes(1, save_begin=7)).train(clock)] == [7, 10, 12]


def test_a_step_whose_checkpoint_stands_is_not_saved_again(tmp_path, clock, monkeypatch):
    saved = []
    monkeypatch.setattr(DurableCheckpointHook, "_save_checkpoint", lambda self, run: saved.append(run.iter + 1))
    hook = by_minutes(1, interval=3)
    monkeypatch.setattr(hook, "_saved", 6)
    clock.now = 1e9
    run = Run(tmp_path, hook)
    hook._since = 0
    for run.iter in (3, 5):
        hook.after_train_iter(run, run.iter)
    assert saved == [4, 6]


def test_checkpoints_by_minutes_wait_for_the_end_of_an_accumulation(tmp_path, clock):
    run = Run(tmp_path, by_minutes(0.1))
    run.accumulated = 5
    assert [*run.train(clock)] == [5, 10, 12]  # the last step saves whatever is


@pytest.mark.parametrize("old", [True, False])
def test_ranks_save_when_the_first_one_says_so(tmp_path, clock, monkeypatch, old):
    monkeypatch.setattr(checkpoint_hook, "broadcast", lambda told: told.fill_(old))
    run = Run(tmp_path, by_minutes(0.1 if not old else 1000, save_last=False))
    assert len(run.train(clock)) == (12 if old else 0)


@pytest.mark.parametrize("minutes", [0, -1, float("nan"), "ten", True, [3]])
def test_minutes_that_are_none_are_named(minutes):
    told = r"(DurableCheckpointHook|default_hooks\.checkpoint)\.minutes=.*: give minutes, above 0, or None"
    with pytest.raises(ValueError, match=told):
        by_minutes(minutes)
    cfg = load_config(ROOT / "configs/finevit_tiny_stage1.py", {"default_hooks.checkpoint.minutes": minutes})
    with pytest.raises(ConfigError, match=told):
        check_config(cfg)


def test_hooks_of_other_packages_save_by_minutes_too():
    load_plugins()
    options = {"default_hooks.checkpoint.type": "CheckpointHook", "default_hooks.checkpoint.minutes": 5}
    cfg = load_config(ROOT / "configs/finevit_tiny_stage1.py", options)
    check_config(cfg)
    made = QuietRunner.__new__(QuietRunner)
    made._hooks = []
    made.register_hook(cfg.default_hooks.checkpoint)
    assert (type(made._hooks[0]), made._hooks[0].minutes) == (DurableCheckpointHook, 5)
    cfg.default_hooks.checkpoint.minute = 5
    with pytest.raises(
        ConfigError, match=r"checkpoint\.minute: CheckpointHook has no argument 'minute' \(did you mean 'minutes'\?\)"
    ):
        check_config(cfg)


def test_epochs_are_not_saved_by_minutes():
    with pytest.raises(ValueError, match=r"minutes=5 needs by_epoch=False: no run can go on in the middle of an epoch"):
        DurableCheckpointHook(minutes=5)


@pytest.mark.filterwarnings("ignore:Detected call of `scheduler.step:UserWarning")  # an accumulation's first step is none
def test_a_run_that_goes_on_from_a_checkpoint_by_minutes_comes_out_the_same(tmp_path, monkeypatch):
    milestones, seconds = [(0, 0.5)], iter(range(0, 10_000, 5))  # at every look 5 s have passed
    monkeypatch.setattr(checkpoint_hook, "time", SimpleNamespace(monotonic=lambda: next(seconds)))
    options = {"optim_wrapper__accumulative_counts": 2, "default_hooks__checkpoint__interval": 4}
    options |= {"train_cfg__max_iters": 4}
    whole = run(tmp_path, "whole", milestones, **options, default_hooks__checkpoint__minutes=1 / 12)
    assert [path.name for path in sorted(whole.glob("*.pth"))] == ["iter_2.pth", "iter_4.pth"]
    resumed = run(tmp_path, "resumed", milestones, **options, load_from=str(whole / "iter_2.pth"), resume=True)
    one, other = (torch.load(folder / "iter_4.pth", weights_only=False) for folder in (whole, resumed))
    assert same(one["state_dict"], other["state_dict"])
    assert str(one["optimizer"]) == str(other["optimizer"])
