"""Tests a checkpoint: ``finevit test CONFIG CHECKPOINT --benchmark coco-karpathy=dataset_coco.json,image_root=images``."""

import argparse
import math
from pathlib import Path
from typing import TYPE_CHECKING

from finevit.engine.cli import add_options, user_errors
from finevit.hub.trust import add_trust

if TYPE_CHECKING:
    from mmengine.config import Config

TRAINING = ("train_dataloader", "train_cfg", "optim_wrapper", "param_scheduler", "val_dataloader", "val_cfg", "val_evaluator")
"""Settings that a test has no use for."""


def parse_arguments() -> argparse.Namespace:
    """OpenMMLab's usual flags, and the evaluation sets."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("config", help="the config that the checkpoint was trained with")
    parser.add_argument("checkpoint", help="a checkpoint of finevit train")
    parser.add_argument(
        "--benchmark",
        nargs="+",
        default=[],
        metavar="NAME=PATH[,SETTING=VALUE...]",
        help="sets to test on, instead of the config's test or validation set; names and settings: docs/evaluation.md",
    )
    parser.add_argument("--work-dir", help="where results.json goes (default: the folder of the checkpoint)")
    add_options(parser)
    add_trust(parser)
    return parser.parse_args()


def folder_of(arguments: argparse.Namespace, cfg: "Config") -> Path:
    """Where results go: beside the checkpoint, unless the command says otherwise."""
    given = arguments.work_dir or (cfg.work_dir if "work_dir" in arguments.cfg_options else None)
    if not given and "://" in arguments.checkpoint:
        raise ValueError(f"checkpoint={arguments.checkpoint!r} is an address; say by --work-dir where its results go")
    return Path(given or Path(arguments.checkpoint).parent).expanduser()


def configure(arguments: argparse.Namespace) -> "Config":
    """The checked config as it is for every set."""
    from finevit.config.loading import load

    def unused(cfg: "Config") -> tuple[str, ...]:
        other = "val" if cfg.get("test_dataloader") and not arguments.benchmark else "test"
        return "train_dataloader", f"{other}_dataloader", f"{other}_evaluator"

    return load(arguments.config, arguments.cfg_options, prepare=lambda cfg: prepare(cfg, arguments), unused=unused)


def prepare(cfg: "Config", arguments: argparse.Namespace) -> None:
    """Writes into the config what a test is."""
    from finevit.engine.launch import check_launcher
    from finevit.engine.work_dir import TESTS

    cfg.work_dir = str(folder_of(arguments, cfg) / TESTS)
    cfg.launcher = arguments.cfg_options.get("launcher", "none")
    check_launcher(cfg.launcher)
    cfg.load_from, cfg.resume, cfg.visualizer = arguments.checkpoint, False, {"type": "Visualizer"}
    others = [hook for hook in cfg.get("custom_hooks", []) if not hook["type"].endswith("ZeroShotHook")]
    cfg.custom_hooks = [*others, {"type": "finevit.ZeroShotHook"}]
    begin_bare(cfg)


def begin_bare(cfg: "Config") -> None:
    """All weights come from the tested checkpoint: that which the encoder of the run began from need not be there."""
    backbone = cfg.model.get("backbone") or {}
    if backbone.get("init_cfg") and str(backbone.get("type")).endswith("FineViT"):
        backbone["init_cfg"] = None


def on_own_data(cfg: "Config") -> "tuple[str, Config]":
    """Name and config of the test set that the config names, or of its validation set."""
    if cfg.get("test_dataloader"):
        return "test", cfg
    if not cfg.get("val_dataloader"):
        raise ValueError("the config has neither a test_dataloader nor a val_dataloader; name a set with --benchmark NAME=PATH")
    cfg.update(test_dataloader=cfg.val_dataloader, test_evaluator=cfg.val_evaluator, test_cfg={"type": "TestLoop"})
    return "val", cfg


def on_benchmark(cfg: "Config", text: str) -> "tuple[str, Config]":
    """Name and config of one of the evaluation sets, with pixels and text length of the config's validation set."""
    from mmengine.config import Config

    from finevit.config.rules import inherit_tokenizer
    from finevit.config.validation import check_config
    from finevit.evaluation import benchmarks
    from finevit.registry import DATASETS

    if not cfg.get("val_dataloader"):
        raise ValueError("the config has no val_dataloader, whose pixels and text length --benchmark takes over")
    name, source = benchmarks.parse(text)
    cfg = Config(cfg.to_dict())
    cfg.val_dataloader.dataset.source = source
    check_config(cfg, unused=("train_dataloader", "test_dataloader", "val_evaluator", "test_evaluator"))
    loader, metrics = benchmarks.configure(name, DATASETS.build(source), cfg.val_dataloader.to_dict())
    benchmarks.check_model(text, metrics[0], cfg.model)
    cfg.update(test_dataloader=loader, test_evaluator=metrics, test_cfg={"type": "TestLoop"})
    inherit_tokenizer(cfg)
    return name, cfg


def main() -> None:
    """Opens every set before the first test, so that a wrong path is told at once."""
    with user_errors():
        arguments = parse_arguments()

        from finevit.console import quiet_libraries

        with quiet_libraries():
            test(arguments)


def test(arguments: argparse.Namespace) -> None:
    """The command."""
    from finevit.engine.checkpoints import check_loadable
    from finevit.evaluation.results import Results
    from finevit.plugins import load_plugins
    from finevit.storage.places import check_writable

    load_plugins()
    check_loadable(arguments.checkpoint, setting="checkpoint", remedy="give one that finevit train wrote")
    cfg = configure(arguments)
    tests = [on_benchmark(cfg, text) for text in arguments.benchmark] or [on_own_data(cfg)]
    folder = Path(cfg.work_dir).parent
    check_writable(str(folder))

    from finevit.config.refusals import refusals
    from finevit.engine.test_run import evaluate, table

    results = Results(folder)
    results.resume(math.inf)
    for name, each in tests:
        each.update(dict.fromkeys(TRAINING))
        with refusals(each.to_dict()):
            evaluate(name, each, results)
    print(table({name: results.benchmarks[name] for name, _ in tests}))
    print(f"written to {results.path}")
