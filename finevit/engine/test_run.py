"""Tests a checkpoint with MMEngine's Runner and records what came out, beside what it was taken on."""

from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, SupportsFloat

from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.runner import Runner

from finevit.config.recorded import check_answers
from finevit.console import aligned
from finevit.engine.eval_caveats import LeftOut
from finevit.engine.progress import ConsoleHook, QuietRunner
from finevit.evaluation.local_metrics import LocalTasks
from finevit.evaluation.results import Results
from finevit.hub.weights import check_fit, weights_of
from finevit.unwrap import unwrapped

REMEDY = "test it with the config that it was trained with"
"""Where a checkpoint does not fit."""
UNSAID = ("type", "_scope_", "ann_file", "prefix", "collect_device", "outfile_prefix")
"""Settings of a metric that are no part of how it measures."""


class CheckpointTested(Hook):
    """Refuses weights of another model, and collects what the loader says of samples and questions that cannot be used."""

    def __init__(self) -> None:
        self.iteration = 0
        self.left_out = LeftOut()

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        model = unwrapped(runner.model)
        check_fit(model.state_dict(), weights_of(checkpoint), where=f"checkpoint={runner._load_from!r}", remedy=REMEDY)
        if any(isinstance(metric, LocalTasks) for metric in runner.test_evaluator.metrics):
            check_answers(runner._load_from, checkpoint.get("meta"))
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
        found = runner.test()
    metrics = {key: float(value) for key, value in found.items() if isinstance(value, SupportsFloat)}
    dataset = runner.test_loop.dataloader.dataset
    unusable = hook.left_out.unusable
    data, images = described(dataset) + hook.left_out.said(), len(dataset) - len(unusable)
    if unusable:
        runner.logger.warning("unusable:\n" + "\n".join(unusable))
    results.add_benchmark(
        name,
        checkpoint=cfg.load_from,
        iteration=hook.iteration,
        data=data,
        images=images,
        protocols={type(metric).__name__: protocol_of(metric, cfg.test_evaluator) for metric in runner.test_evaluator.metrics},
        metrics=metrics,
    )


def described(dataset: Any) -> str:
    """What a data set says of itself; of another package's its kind, and the names of its files."""
    if hasattr(dataset, "describe"):
        return dataset.describe()
    names = [Path(str(value)).name for value in (getattr(dataset, "data_root", ""), getattr(dataset, "ann_file", "")) if value]
    return f"{type(dataset).__name__} of {type(dataset).__module__.partition('.')[0]} ({', '.join(names)})"


def protocol_of(metric: Any, configs: Any) -> str:
    """How a metric measures: FineViT's say so, of another package's it is the package, its version, and the settings."""
    if hasattr(metric, "protocol"):
        return metric.protocol
    name, package = type(metric).__name__, type(metric).__module__.partition(".")[0]
    given: dict = next(
        (each for each in (configs if isinstance(configs, list) else [configs]) if str(each["type"]).endswith(name)), {}
    )
    said = ", ".join(f"{key}={value!r}" for key, value in given.items() if key not in UNSAID)
    version = getattr(import_module(package), "__version__", "of an unknown version")
    return f"{package} {version} {name}({said})"


def table(benchmarks: Mapping[str, dict]) -> str:
    """What ``Results.benchmarks`` holds, for people."""
    lines = []
    for name, entry in benchmarks.items():
        images, protocols = entry["data"]["images"], ", ".join(entry["protocols"].values())
        lines += ["", f"{name}: {images:,} images, {entry['checkpoint']}", f"  {entry['data']['description']}", f"  {protocols}"]
        rows = [[key, f"{value:.4f}"] for key, value in entry["metrics"].items()]
        lines += [f"  {line}" for line in aligned([["metric", "value"], *rows]).splitlines()]
    return "\n".join(lines[1:])
