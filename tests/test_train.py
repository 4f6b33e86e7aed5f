"""tools/train.py as people use it: a run, a kill and a resume, their own data, what it says and what it refuses."""

import json
import os
import re
import runpy
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from forked import Forked, forked
from mmengine.config import Config
from mmengine.hooks import CheckpointHook
from PIL import Image

from finevit.commands import train as train_command
from finevit.datasets.readers import open_source
from finevit.engine.checkpoints import check_resumable
from finevit.engine.hooks.bad_samples_hook import BadSamplesHook
from finevit.engine.hooks.progress_hook import ProgressHook
from finevit.engine.work_dir import EarlierRunHook
from finevit.storage.places import check_writable

ROOT = Path(__file__).parents[1]
NUMBER = r"-?\d+\.\d{4}"
REPORT = 'dict(type="ReportHook", images=2),'
CONFIG = f"""
_base_ = ["{ROOT}/configs/_base_/runtime.py", "{ROOT}/configs/_base_/embedded_scenes.py"]
model = dict(
    type="MaskedDistillation",
    backbone=dict(type="FineViT", arch=dict(depth=2, dim=32, heads=2, mlp_dim=64), drop_path=0.2),
    teacher=dict(type="RandomFeatureTeacher", dim=16),
    head=dict(type="DistillationHead", target_norm="channel", visible_weight=0.5),
    mask_ratio=0.75,
)
train_dataloader = dict(batch_size=4, batch_sampler=dict(resolution=dict(side=112)))
val_dataloader = dict(batch_size=4, dataset=dict(source=dict(length=8), pixels=112 * 112))
optim_wrapper = dict(type="OptimWrapper", optimizer=dict(type="AdamW", lr=1e-3), clip_grad=dict(max_norm=1.0))
param_scheduler = [
    dict(type="LinearLR", start_factor=0.1, by_epoch=False, begin=0, end=5),
    dict(type="CosineAnnealingLR", by_epoch=False, eta_min=0.0),
]
train_cfg = dict(type="StatelessTrainLoop", max_iters=12)
val_cfg = dict(type="ValLoop")
val_evaluator = [dict(type="ExplainedVariance"), dict(type="PatchProbe")]
default_hooks = dict(logger=dict(interval=1), checkpoint=dict(interval=4))
custom_hooks = [
    dict(type="RunSummaryHook"),
    dict(type="ThroughputHook"),
    dict(type="BadSamplesHook"),
    dict(type="ExactResumeHook"),
    dict(type="ScheduleHook", schedules=dict(mask_ratio=dict(type="Linear", begin_value=0.5, end_value=0.75, end=10))),
    {REPORT}
]
"""


@pytest.fixture(scope="module")
def config(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("configs") / "small.py"
    path.write_text(CONFIG)
    return path


@pytest.fixture(scope="module")
def plain(config) -> Path:
    """The same without a report, which takes as long as all else of so short a run."""
    path = config.parent / "plain" / config.name
    path.parent.mkdir()
    path.write_text(CONFIG.replace(REPORT, ""))
    return path


def command(config: Path, work_dir: Path, *arguments: str) -> list[str]:
    return [sys.executable, str(ROOT / "tools/train.py"), str(config), "--work-dir", str(work_dir), *arguments]


@pytest.fixture(scope="module")
def runs() -> Iterator[Forked]:
    """Runs without the seconds of a start."""
    with forked() as made:
        yield made


@pytest.fixture(scope="module")
def train(runs, tmp_path_factory) -> Callable[..., str]:
    """Runs to the end; what it printed."""
    log = tmp_path_factory.mktemp("logs") / "log"

    def trained(config: Path, work_dir: Path, *arguments: str, ok: bool = True) -> str:
        status, output = runs.run("train", *command(config, work_dir, *arguments)[2:], log=log, seconds=300)
        assert (status == 0) == ok, output[-3000:]
        return output

    return trained


@pytest.fixture(scope="module")
def killed(runs, tmp_path_factory) -> Callable[..., None]:
    """Runs until it writes the checkpoint of step 8."""
    log, at = tmp_path_factory.mktemp("logs") / "log", (r"/iter_8\.pth", ["sh", "-c", "kill -KILL $PPID"])

    def run(config: Path, work_dir: Path, *arguments: str) -> None:
        status, output = runs.run("train", *command(config, work_dir, *arguments)[2:], log=log, seconds=400, at=at)
        assert status == -signal.SIGKILL, output[-3000:]

    return run


def losses(work_dir: Path) -> dict[int, float]:
    """Step -> loss, of all runs in a work dir; a step that was run twice keeps the last."""
    found = {}
    for file in sorted(work_dir.glob("*/vis_data/scalars.json")):
        for line in map(json.loads, file.read_text().splitlines()):
            if "loss" in line:
                found[line["step"]] = line["loss"]
    return found


def weights(work_dir: Path, iteration: int) -> dict[str, torch.Tensor]:
    return torch.load(work_dir / f"iter_{iteration}.pth", weights_only=False)["state_dict"]


@pytest.fixture(scope="module")
def whole(config, tmp_path_factory) -> tuple[Path, str]:
    """An uninterrupted run in a process of its own, and what it printed."""
    work_dir = tmp_path_factory.mktemp("whole")
    one_thread = {**os.environ, "OMP_NUM_THREADS": "1"}  # as those that are forked: the number of threads is part of the last bits
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    done = subprocess.run(command(config, work_dir), cwd=ROOT, env=one_thread, timeout=300, **pipes)
    assert done.returncode == 0, done.stdout[-3000:]
    return work_dir, done.stdout


def test_a_run_says_what_it_does_and_leaves_a_report(whole):
    work_dir, output = whole
    for said in (
        "stage: I",
        "encoder: FineViT, 2 blocks of width 32",
        "teacher: ",
        "embedded scenes",
        "data_root=",
        "48 images in all",
        "; attention: one image after the other, gradients written out",
    ):
        assert said in output
    log = next(work_dir.glob("*/*.log")).read_text()
    line = r"Iter\(train\) \[12/12\].*eta.*loss.*fill: [01].*attention_share: 0.*images_per_s.*patches_per_s"
    assert re.search(line, log)
    assert log.index("attention_share: what attention takes") < log.index("fill: 1")
    assert re.search(r"Iter\(train\) \[12/12\]  loss: [\d.]+  lr: [\d.e+-]+  [\d.]+ images/s  eta: 0:0", output)
    assert f"report: {work_dir}/report.html" in output
    untrained, trained = json.loads((work_dir / "results.json").read_text())["evaluations"]
    table = re.search(rf"^results +untrained +step 12$(.|\n)*?^stage1/r2 +({NUMBER}) +({NUMBER})$", output, re.MULTILINE)
    assert [float(value) for value in table.group(2, 3)] == [round(run["stage1/r2"], 4) for run in (untrained, trained)]
    assert f"checkpoint: {work_dir}/iter_12.pth" in output
    assert "R²" in (work_dir / "report.html").read_text()
    evaluations = json.loads((work_dir / "results.json").read_text())
    assert "masked-r2" in json.dumps(evaluations)
    assert list(work_dir.glob("**/events.out.tfevents*"))


def test_the_console_has_what_people_read_and_the_log_file_everything(whole):
    work_dir, output = whole
    log = next(work_dir.glob("*/*.log")).read_text()
    above = output[: output.index("Iter(train)")].splitlines()
    assert above[0] == f"log file, with everything: {next(work_dir.glob('*/*.log'))}"
    assert len(above) <= 12
    for boilerplate in ("System environment", "Hooks will be executed", "train_dataloader = dict", "WARNING", "deprecated"):
        assert boilerplate not in output
        assert boilerplate in log
    assert [line for line in output.splitlines() if line.strip() and line not in log and "log file" not in line] == []
    assert len(re.findall(r"Iter\(train\) \[12/12\]", output)) == 1
    assert len(output.splitlines()) < 45


def test_checkpoints_hold_the_student_alone_and_what_made_it(whole):
    checkpoint = torch.load(whole[0] / "iter_12.pth", weights_only=False)
    assert not [name for name in checkpoint["state_dict"] if "teacher" in name]
    assert checkpoint["meta"]["data_order"]["global batch size"] == 4
    assert [plugin["name"] for plugin in checkpoint["message_hub"]["runtime_info"]["plugins"]] == ["bundled"]


def test_kill_and_resume_equals_the_uninterrupted_run_to_the_last_bit(killed, train, plain, whole, tmp_path):
    killed(plain, tmp_path)
    assert max(losses(tmp_path)) in (7, 8)
    output = train(plain, tmp_path, "--resume", "--cfg-options", "train_dataloader.num_workers=2")
    assert "Resuming at iteration 4" in output
    assert losses(tmp_path) == losses(whole[0])
    assert len(losses(tmp_path)) == 12
    for name, value in weights(whole[0], 12).items():
        assert torch.equal(value, weights(tmp_path, 12)[name]), name


def test_a_resume_without_a_checkpoint_is_told_and_starts_from_load_from(train, plain, whole, tmp_path):
    weights_of = str(whole[0] / "iter_12.pth")
    output = train(plain, tmp_path, "--resume", "--cfg-options", f"load_from={weights_of}", "train_cfg.max_iters=1")
    assert f"WARNING - --resume: {str(tmp_path)!r} holds no checkpoint; the run starts anew, at step 0, from the weights" in output
    assert re.search(r"load_from: taken over: mask_token, backbone, head; (\d+) of \1 tensors, from ", output)
    assert "Resuming" not in output


def test_a_resume_that_cannot_be_exact_is_refused(train, plain, whole, tmp_path):
    checkpoint = str(whole[0] / "iter_8.pth")
    output = train(plain, tmp_path, "--resume", checkpoint, "--cfg-options", "train_dataloader.batch_size=2", ok=False)
    assert "global batch size: 4 then, 2 now" in output
    assert "Traceback" not in output


@pytest.mark.slow
def test_accumulation_learns_and_guards_its_checkpoints(train, plain, tmp_path):
    output = train(plain, tmp_path, "--amp", "--cfg-options", "optim_wrapper.accumulative_counts=2", "train_cfg.max_iters=4")
    assert "Iter(train) [4/4]" in output
    refused = train(plain, tmp_path / "b", "--cfg-options", "optim_wrapper.accumulative_counts=3", ok=False)
    assert "default_hooks.checkpoint.interval: 4 must be a multiple of optim_wrapper.accumulative_counts, which is 3" in refused


@pytest.mark.slow
def test_layer_wise_decay(train, plain, tmp_path):
    options = (
        "optim_wrapper.optimizer.weight_decay=0.05",
        "optim_wrapper.constructor=mmpretrain.LearningRateDecayOptimWrapperConstructor",
        "optim_wrapper.paramwise_cfg.layer_decay_rate=0.5",
    )
    train(plain, tmp_path, "--cfg-options", "train_cfg.max_iters=1", *options)
    groups = torch.load(tmp_path / "iter_1.pth", weights_only=False)["optimizer"]["param_groups"]
    assert {round(group["initial_lr"] / 1e-3, 4) for group in groups} == {1.0, 0.5, 0.25, 0.125}


def test_peoples_own_images_and_a_bad_one(train, config, tmp_path):
    rng = np.random.default_rng(0)
    images = tmp_path / "images"
    images.mkdir()
    for index in range(24):
        pixels = rng.integers(0, 256, (60 + index, 90, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(images / f"{index:02}.jpg")
        (images / f"{index:02}.txt").write_text(f"noise number {index}")
    (images / "07.jpg").write_bytes((images / "07.jpg").read_bytes()[:300])
    (images / "08.jpg").write_bytes(b"")
    output = train(config, tmp_path / "run", "--cfg-options", f"data_root={images}")
    assert "skipped" in output
    assert "07.jpg" in (tmp_path / "run/bad_samples.txt").read_text()
    assert "embedded" not in output.split("stage: I")[1].split("plan:")[0]
    assert len(losses(tmp_path / "run")) == 12


def folder(path: Path, *, good: int, bad: int) -> Path:
    path.mkdir()
    for index in range(good):
        Image.new("RGB", (60 + index, 90), (index, 80, 9)).save(path / f"good{index}.png")
    for index in range(bad):
        (path / f"bad{index}.jpg").write_bytes(b"\xff\xd8torn")
    return path


def test_a_folder_of_bad_images_is_told_without_a_traceback(train, plain, tmp_path):
    root = folder(tmp_path / "images", good=0, bad=4)
    output = train(plain, tmp_path / "run", "--cfg-options", f"data_root={root}", ok=False)
    assert "error: 20 samples in a row cannot be used" in output
    assert "Traceback" not in output


def test_a_held_out_bad_image_does_not_stop_the_training(train, config, tmp_path):
    root = folder(tmp_path / "images", good=5, bad=0)
    source = open_source(data_root=root, split="val")
    assert len(source) == 1
    (root / source[0].id).write_bytes(b"")
    output = train(config, tmp_path / "run", "--cfg-options", f"data_root={root}", "train_cfg.max_iters=2")
    assert [f"no validation at step {step}" in output for step in (0, 1, 2)] == [True, False, True]
    assert (output.count(f"{source[0].id}: "), output.count("Traceback")) == (1, 0)
    assert (tmp_path / "run/iter_2.pth").exists()


def test_bad_images_of_the_validation_are_listed_once_a_run_and_counted_each_time(tmp_path):
    hook = BadSamplesHook(show=2)
    said: list[str] = []
    runner = SimpleNamespace(
        rank=0,
        work_dir=tmp_path,
        logger=SimpleNamespace(warning=said.append),
        val_dataloader=SimpleNamespace(dataset=range(30)),
    )
    for runner.iter, bad in ((0, ["a: torn", "b: torn", "c: torn"]), (5, ["b: torn", "d: torn"]), (9, [])):
        hook.before_val_epoch(runner)
        for batch in (bad, bad[:1]):  # an image that replaces others may be met twice
            hook.after_val_iter(runner, 0, {"skipped": batch})
        hook.after_val_epoch(runner)
    assert [line for line in said if line.startswith("left out")] == [f"left out of the validation: {n}: torn" for n in "ab"]
    counted = [line for line in said if line.startswith("validation at")]
    assert [line.partition(" are left out")[0] for line in counted] == [
        "validation at step 0: 3 of 30 images",
        "validation at step 5: 2 of 30 images",
    ]
    assert (tmp_path / "bad_samples.txt").read_text().splitlines() == [f"{n}: torn" for n in "abcd"]


@pytest.mark.parametrize(
    ("steps", "interval", "epoch", "logged"),
    [
        (1, 1, 99, [1]),
        (1, 20, 99, [1]),
        (4, 2, 99, [2, 4]),
        (5, 2, 99, [2, 4, 5]),
        (5, 20, 5, [5]),
        (6, 20, 3, [3, 6]),
        (5, 2, 5, [2, 4, 5]),
    ],
)
def test_no_step_has_two_lines(steps, interval, epoch, logged):
    """Neither the last of a run nor that of an epoch, be it shorter than the interval or not."""
    hook, lines = ProgressHook(interval=interval), list[int]()
    runner = SimpleNamespace(
        max_iters=steps,
        train_dataloader=range(epoch),
        logger=SimpleNamespace(info=lambda line: lines.append(int(line))),
        log_processor=SimpleNamespace(get_log_after_iter=lambda runner, *_: ({}, str(runner.iter + 1))),
        visualizer=SimpleNamespace(add_scalars=lambda *_, **__: None),
    )
    for runner.iter in range(steps):
        hook.after_train_iter(runner, runner.iter % epoch if epoch < steps else runner.iter)
    assert lines == logged


def test_a_bad_image_that_comes_again_counts_once(monkeypatch):
    hook = BadSamplesHook(after=10, max_share=0.1)
    monkeypatch.setattr(hook, "_report", lambda runner, skipped: hook.bad.extend(skipped))
    images = SimpleNamespace(seqlens=(1, 1, 1))
    for step in range(20):
        hook.before_train_iter(None, step, {"images": images, "skipped": ["07.jpg: torn"]})
    with pytest.raises(ValueError, match="13 of 95 samples could not be used"):
        hook.before_train_iter(None, 20, {"images": images, "skipped": [f"{index}: torn" for index in range(12)]})


def test_a_small_set_that_is_bad_stops_and_a_single_bad_image_does_not():
    """8 of 28 records: no number of epochs makes them few. One of nine is no reason to stop."""
    images = SimpleNamespace(seqlens=(1,) * 4)

    def hook(size: int) -> BadSamplesHook:
        made = BadSamplesHook()
        made._report = lambda runner, skipped: made.bad.extend(skipped)
        made.before_train(SimpleNamespace(train_dataloader=SimpleNamespace(dataset=range(size))))
        return made

    small = hook(28)
    for step in range(5):
        small.before_train_iter(None, step, {"images": images, "skipped": [f"{step}: torn"]})
    with pytest.raises(ValueError, match="6 of 28 samples could not be used"):
        small.before_train_iter(None, 5, {"images": images, "skipped": ["5: torn"]})
    single = hook(9)
    for step in range(100):
        single.before_train_iter(None, step, {"images": images, "skipped": ["7: torn"]})


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"max_share": "lots"}, "max_share='lots': give a share of the samples, from 0 to 1"),
        ({"max_share": -0.1}, "max_share=-0.1: give a share"),
        ({"max_share": 10}, "max_share=10: give a share"),
        ({"after": -5}, "after=-5: give a whole number, at least 0"),
        ({"at_least": 2.5}, "at_least=2.5: give a whole number, at least 0"),
        ({"show": True}, "show=True: give a whole number, at least 0"),
    ],
)
def test_what_bad_samples_may_be_is_checked(settings, said):
    with pytest.raises(ValueError, match=rf"BadSamplesHook\.{said}"):
        BadSamplesHook(**settings)


def test_a_captions_file_of_broken_entries_stops_before_the_first_step(train, plain, tmp_path):
    root = folder(tmp_path / "images", good=5, bad=0)
    names = sorted(path.name for path in root.iterdir())
    lines = [json.dumps({"image": name, "id": "a" if index < 2 else name}) for index, name in enumerate(names)]
    (root / "captions.jsonl").write_text("\n".join([*lines, "{broken", '{"image": 3}']))
    options = ["--cfg-options", f"data_root={root / 'captions.jsonl'}", "train_cfg.max_iters=2"]
    output = train(plain, tmp_path / "run", *options, ok=False)
    assert "error: 3 of 7 entries were left out, more than the share of 10%" in output
    for what in ("captions.jsonl line 2: id 'a' was in captions.jsonl line 1", "captions.jsonl line 6", "captions.jsonl line 7"):
        assert what in output
    assert "Traceback" not in output
    assert len((tmp_path / "run/bad_samples.txt").read_text().splitlines()) == 3


def test_a_checkpoint_of_no_use_is_refused(tmp_path):
    torn, foreign = tmp_path / "torn.pth", tmp_path / "weights.pth"
    torn.write_bytes(b"half")
    torch.save({"a": 1}, foreign)
    with pytest.raises(ValueError, match="cannot be read as a checkpoint"):
        check_resumable(str(torn))
    with pytest.raises(ValueError, match="lacks meta, optimizer, state_dict"):
        check_resumable(str(foreign))
    with pytest.raises(ValueError, match="cannot be read as a checkpoint"):
        check_resumable(str(tmp_path))


def test_a_new_run_moves_what_another_left_aside_and_may_begin_with_it(train, plain, whole, tmp_path):
    shutil.copytree(whole[0], tmp_path / "run")
    begin = tmp_path / "run/iter_12.pth"
    (tmp_path / "run/plan.json").write_text("{}")
    (tmp_path / "run/notes.txt").write_text("mine")
    held = {path.name for path in (tmp_path / "run").iterdir()}
    output = train(plain, tmp_path / "run", "--cfg-options", f"load_from={begin}", "train_cfg.max_iters=1")
    (aside,) = (tmp_path / "run").glob("before_*")
    assert f"{tmp_path / 'run'} held files of an earlier run; they are now in {aside}: " in output
    assert {path.name for path in aside.iterdir()} == held - {"plan.json", "notes.txt", "small.py", ".in_use"}
    assert "load_from: taken over: " in output
    assert [path.name for path in (tmp_path / "run").glob("*.pth")] == ["iter_1.pth"]
    assert len(losses(tmp_path / "run")) == 1
    saved = torch.load(tmp_path / "run/iter_1.pth", weights_only=False)["meta"]["cfg"]
    assert f"load_from = '{aside}/iter_12.pth'" in saved


def a_runner(work_dir: Path, **settings: object) -> SimpleNamespace:
    said: list[str] = []
    defaults = {"hooks": [], "timestamp": "20260102_030405", "_resume": False, "_load_from": None, "_has_loaded": False, "iter": 4}
    return SimpleNamespace(
        work_dir=str(work_dir),
        said=said,
        logger=SimpleNamespace(warning=said.append),
        cfg=SimpleNamespace(),
        **{**defaults, **settings},
    )


@pytest.mark.parametrize(
    ("resumed", "settings"),
    [
        (True, {"_resume": True, "_load_from": "HERE/iter_4.pth", "_has_loaded": True}),
        (True, {"_resume": True, "_has_loaded": True}),
        (False, {"_resume": True, "_has_loaded": False}),
        (False, {"_resume": True, "_load_from": "HERE/../other/iter_4.pth", "_has_loaded": True}),
        (False, {"_load_from": "HERE/iter_4.pth", "_has_loaded": True}),
    ],
    ids=str,
)
def test_only_a_run_that_goes_on_in_its_work_dir_leaves_it_as_it_is(tmp_path, resumed, settings):
    here = tmp_path / "here"
    for name in ("iter_4.pth", "last_checkpoint", "20250101_000000/scalars.json", "20260102_030405/own.log", "data/iter_4.txt"):
        (here / name).parent.mkdir(parents=True, exist_ok=True)
        (here / name).touch()
    if "_load_from" in settings:
        settings = {**settings, "_load_from": settings["_load_from"].replace("HERE", str(here))}
    runner = a_runner(here, **settings)
    EarlierRunHook().before_train(runner)
    left = sorted(path.name for path in here.iterdir())
    if resumed:
        assert (left, runner.said) == (["20250101_000000", "20260102_030405", "data", "iter_4.pth", "last_checkpoint"], [])
    else:
        assert left == ["20260102_030405", "before_20260102_030405", "data"]
        assert (here / "before_20260102_030405/20250101_000000/scalars.json").exists()
        assert runner.said[0].endswith("before_20260102_030405: 20250101_000000, iter_4.pth, last_checkpoint")


def test_checkpoints_that_go_elsewhere_are_moved_aside_too(tmp_path):
    (tmp_path / "large/run").mkdir(parents=True)
    (tmp_path / "large/run/step4.pth").touch()
    (tmp_path / "large/run/pretrained.pth").touch()
    hook = CheckpointHook(out_dir=str(tmp_path / "large"), filename_tmpl="step{}.pth")
    runner = a_runner(tmp_path / "run", hooks=[hook])
    EarlierRunHook().before_train(runner)
    assert sorted(path.name for path in (tmp_path / "large/run").iterdir()) == ["before_20260102_030405", "pretrained.pth"]


@pytest.mark.parametrize("flag", ["--work-dir=~/run", "--cfg-options=work_dir=~/run"])
def test_the_home_folder_is_none_that_is_called_tilde(tmp_path, monkeypatch, flag):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(sys, "argv", ["train.py", "config.py", flag])
    arguments = train_command.parse_arguments(plan=False)
    cfg = Config({**arguments.cfg_options, "load_from": "~/w/iter_4.pth"})
    train_command.apply_flags(cfg, arguments)
    assert (cfg.work_dir, cfg.load_from) == (f"{tmp_path}/run", f"{tmp_path}/w/iter_4.pth")
    cfg.load_from = "https://host/iter_4.pth"
    train_command.apply_flags(cfg, arguments)
    assert cfg.load_from == "https://host/iter_4.pth"


def test_a_work_dir_that_is_a_file_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match="cannot be written"):
        check_writable(str(tmp_path / "file"))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["trian_cfg.max_iters=2"], "did you mean 'train_cfg'"),
        (["model.backbone.type=FineVit"], "did you mean 'FineViT'"),
        (["model.teacher.type=HuggingFaceTeacher", "model.teacher.model=/no/such/folder"], "/no"),
        (["data_root=/no/such/folder"], "/no"),
        (["train_cfg.max_iter=3"], "did you mean 'max_iters'"),
    ],
)
def test_mistakes_stop_the_run_before_it_starts(config, tmp_path, monkeypatch, capsys, options, said):
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(sys, "argv", command(config, tmp_path / "run", "--cfg-options", *options)[1:])
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(ROOT / "tools/train.py"), run_name="__main__")
    output = "".join(capsys.readouterr())
    assert ended.value.code == 2
    assert said in output
    assert "Traceback" not in output
    assert not (tmp_path / "run").exists()
