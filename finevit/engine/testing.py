"""Tests a checkpoint with MMEngine's Runner and records what came out, beside what it was taken on."""

from collections.abc import Mapping, Sequence

from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.runner import Runner

from finevit.engine.left_out import LeftOut
from finevit.engine.progress import ConsoleHook, QuietRunner
from finevit.evaluation.results import Results
from finevit.table import aligned
from finevit.unwrap import unwrapped
from finevit.weights import check_fit, weights_of

REMEDY = "test it with the config that it was trained with"
"""Where a checkpoint does not fit."""


class CheckpointTested(Hook):
    """Refuses weights of another model, and collects what the loader says of samples and questions that cannot be used."""

    def __init__(self) -> None:
        self.iteration = 0
        self.left_out = LeftOut()

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        model = unwrapped(runner.model)
        check_fit(model.state_dict(), weights_of(checkpoint), where="checkpoint", remedy=REMEDY)
        self.iteration = checkpoint.get("meta", {}).get("iter", 0)

    def after_test_iter(
        self, runner: Runner, batch_idx: int, data_batch: dict | None = None, outputs: Sequence[dict] | None = None
    ) -> None:
        self.left_out.add(data_batch)


def evaluate(name: str, cfg: Config, results: Results) -> None:
    """Tests on the config's test set, and adds what came out to the results."""
    cfg.experiment_name = name.replace("/", "_")  # tests of one second would share MMEngine's logs and messages
    runner, hook, console = QuietRunner.from_cfg(cfg), CheckpointTested(), ConsoleHook()
    runner.register_hook(hook, priority="VERY_HIGH")
    runner.register_hook(console)
    with console.closing(runner):
        metrics = {key: float(value) for key, value in runner.test().items()}
    dataset = runner.test_loop.dataloader.dataset
    unusable = hook.left_out.unusable
    data, images = dataset.describe() + hook.left_out.said(), len(dataset) - len(unusable)
    if unusable:
        runner.logger.warning("unusable:\n" + "\n".join(unusable))
    results.add_benchmark(
        name,
        checkpoint=cfg.load_from,
        iteration=hook.iteration,
        data=data,
        images=images,
        protocols={
            type(metric).__name__: metric.protocol for metric in runner.test_evaluator.metrics if hasattr(metric, "protocol")
        },
        metrics=metrics,
    )


def table(benchmarks: Mapping[str, dict]) -> str:
    """What ``Results.benchmarks`` holds, for people."""
    lines = []
    for name, entry in benchmarks.items():
        images, protocols = entry["data"]["images"], ", ".join(entry["protocols"].values())
        lines += ["", f"{name}: {images:,} images, {entry['checkpoint']}", f"  {entry['data']['description']}", f"  {protocols}"]
        rows = [[key, f"{value:.4f}"] for key, value in entry["metrics"].items()]
        lines += [f"  {line}" for line in aligned([["metric", "value"], *rows]).splitlines()]
    return "\n".join(lines[1:])
