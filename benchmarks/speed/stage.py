"""Training steps of a config as the loader feeds them, and how evenly its batches would load the ranks of a larger machine."""

import argparse
import tempfile
import time
from collections.abc import Iterator, Sequence
from statistics import median

import torch
from mmengine.config import Config
from mmengine.runner import Runner
from torch import nn

from benchmarks.speed.benchmark import SPEED_BENCHMARKS, TINY, SpeedBenchmark
from benchmarks.speed.measure import best_product, timed
from benchmarks.speed.output import Column, Panel, Result
from benchmarks.speed.packs import balanced, fill, imbalance, in_order, native_lengths
from benchmarks.speed.work import Size
from finevit.config.loading import load
from finevit.config.refusals import refusals
from finevit.engine.cli import add_options
from finevit.planning.flops import step_flops
from finevit.planning.scheduled import schedule_hooks
from finevit.precision import bfloat16_helps

WARM = 2
"""Steps that do not count."""
RANKS = (1, 2, 4, 8, 16, 32, 64)
WINDOW = 8192
"""Images among which those of a step and of a rank are chosen (``NativeBatchSampler.balance``)."""
LARGE = 1008
"""Side of a square with as many pixels as an image of native resolution has at most."""


@SPEED_BENCHMARKS.register_module(name="stage")
class StageSpeed(SpeedBenchmark):
    """Seconds, throughput and waiting of real steps; fill and imbalance of simulated ranks."""

    compares = "training steps of a config, and the balance of 1 to 64 simulated ranks"
    unit = "per cent"
    columns = (
        Column("what", "what"),
        Column("seconds", "s/step", ".3f"),
        Column("images", "images/s", ",.1f"),
        Column("patches", "patches/s", ",.0f"),
        Column("wait", "waits for data", ".1%"),
        Column("fraction", "of the limit", ".2f"),
        Column("fill", "fill", ".3f"),
        Column("imbalance", "imbalance", ".1%"),
    )
    quick = {
        "steps": 2,
        "cfg_options": {
            "train_dataloader.batch_size": 2,
            "train_dataloader.num_workers": 0,
            "model.teacher.type": "RandomFeatureTeacher",
        },
    }

    @staticmethod
    def add_options(command: argparse.ArgumentParser) -> None:
        command.add_argument("--config", default=TINY, help=f"what is trained (default: {TINY})")
        add_options(command)
        command.add_argument("--steps", type=int, default=20, help="real steps that count (default: 20)")

    @staticmethod
    def run(arguments: argparse.Namespace) -> Result:
        """Some real steps on this device, then arithmetic for 1 to 64 ranks."""
        unused = ("val_dataloader", "test_dataloader", "val_evaluator", "test_evaluator")
        cfg = load(arguments.config, arguments.cfg_options, unused=unused)
        with refusals(cfg.to_dict()), tempfile.TemporaryDirectory() as folder:
            private = Config(cfg.to_dict())
            private.merge_from_dict({"work_dir": folder, "launcher": "none", "log_level": "ERROR"})
            runner = Runner.from_cfg(private)
            rows, size, batch, pixels = _steps(runner, arguments.steps)
        for side in dict.fromkeys((round(pixels**0.5), LARGE)):
            rows += list(simulated(size, batch, side, RANKS, WINDOW))
        bars = {row["what"]: 100 * row["imbalance"] for row in rows if row["imbalance"] is not None}
        notes = [
            "waits for data: share of the time in which the step waits for the loader; hooks and logging are not in the figures",
            "of the limit: FLOPs of the step, teacher and frozen parts too, over what a product of square matrices reached",
            "fill: patches over packs as large as the largest; imbalance: the dearest rank over the mean; "
            f"of 2 x {WINDOW:,} images",
        ]
        settings = {"config": arguments.config, "steps": arguments.steps, "batch": batch, "size": size._asdict()}
        return Result(settings, rows, [Panel("imbalance of ranks", bars)], notes)


def simulated(size: Size, batch: int, side: int, ranks: Sequence[int], window: int) -> Iterator[dict]:
    """The rows of so many ranks, on images of native sizes of at most ``side^2`` pixels: two windows of them."""
    lengths = native_lengths(2 * max(window, max(ranks) * batch), side**2, size.patch)
    for count in ranks:
        plans = {
            "in order": in_order(lengths, count, batch),
            "balanced": balanced(lengths, count, batch, max(window, count * batch)),
        }
        for way, plan in plans.items():
            what = f"{count} ranks, at most {side}^2 pixels, {way}"
            yield {"what": what, "ranks": count, "way": way, "fill": fill(plan), "imbalance": imbalance(plan, size)}


def _steps(runner: Runner, steps: int) -> tuple[list[dict], Size, int, int]:
    """One row of real steps; size of the encoder, images of a batch, and the pixels of its images at most."""
    model, loader = runner.model, (runner.train_loop and runner.train_dataloader)
    wrapper = runner.build_optim_wrapper(runner.optim_wrapper)
    wrapper.initialize_count_status(model, 0, steps + WARM)
    for hook in schedule_hooks(runner):
        hook.before_run(runner)
        hook.apply(model, 0)
    device, batches = next(model.parameters()).device, iter(loader)
    model.train()
    waits, totals, counts = [], [], []
    for _ in range(steps + WARM):
        begin = time.perf_counter()
        batch = next(batches)
        waits.append(time.perf_counter() - begin)
        lengths = batch["images"].seqlens
        counts.append((len(lengths), sum(lengths)))
        totals.append(waits[-1] + timed(lambda batch=batch: model.train_step(batch, wrapper), device))
    images, patches = (sum(column) for column in zip(*counts[WARM:], strict=True))
    seconds, dtype = sum(totals[WARM:]), torch.bfloat16 if bfloat16_helps() else torch.float32
    limit = best_product(device, dtype, (1024, 2048))
    row = {
        "what": f"{steps} real steps of {len(lengths)} images",
        "seconds": median(totals[WARM:]),
        "images": images / seconds,
        "patches": patches / seconds,
        "wait": sum(waits[WARM:]) / seconds,
        "fraction": step_flops(model, batch) / median(totals[WARM:]) * timed(limit.step, device) / limit.flops,
        "fill": fill([[[count] for _, count in counts[WARM:]]]),
        "imbalance": None,
    }
    sampler = loader.batch_sampler
    return [row], _size(model.backbone), sampler.batch_size, sampler.resolution(0).pixels


def _size(backbone: nn.Module) -> Size:
    mlp_dim = backbone.blocks[0].feed_forward.down.in_features
    return Size(depth=backbone.depth, dim=backbone.dim, heads=backbone.heads, mlp_dim=mlp_dim, patch=backbone.patch)
