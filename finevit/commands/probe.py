"""Probes a frozen encoder: ``finevit probe CHECKPOINT``, on the embedded scenes or on your own ``--data FOLDER``.

Linear and attentive classification, k-NN, segmentation and region retrieval; writes results.json and probes.html.
"""

import argparse
import math
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from finevit.engine.cli import add_options, user_errors
from finevit.evaluation.probes import PROBES
from finevit.hub.trust import add_trust

if TYPE_CHECKING:
    from mmengine.config import Config

    from finevit.evaluation.probes.data import ProbeData
    from finevit.evaluation.probes.run import Evaluated, Setting


def parse_arguments() -> argparse.Namespace:
    """OpenMMLab's usual flags, the probes and their data."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", help="a checkpoint of finevit train, of any stage")
    parser.add_argument("--config", help="the config that it was trained with (default: the one inside the checkpoint)")
    parser.add_argument("--probes", nargs="+", choices=PROBES, help="which probes (default: all that the data serves)")
    parser.add_argument("--data", metavar="FOLDER", help="your own data in the layout of ImageNet, ADE20K or COCO (docs/probes.md)")
    parser.add_argument(
        "--images",
        nargs=2,
        type=int,
        metavar=("TRAIN", "TEST"),
        help="at most so many (default: 1000 and 500 scenes, all of --data)",
    )
    parser.add_argument("--pixels", type=int, help="larger images are reduced to this area (default: the config's validation)")
    parser.add_argument("--untrained", action="store_true", help="also probe the same encoder with random weights, to compare")
    parser.add_argument("--foreground", action="store_true", help="leave the background out of the PCA maps, as DINOv2 shows them")
    parser.add_argument("--seed", type=int, default=0, help="of every random choice")
    parser.add_argument("--work-dir", help="where results.json and probes.html go (default: probes/ beside the checkpoint)")
    add_options(parser)
    add_trust(parser)
    return parser.parse_args()


def open_data(arguments: argparse.Namespace, cfg: "Config") -> "list[ProbeData]":
    """The user's data, or the embedded scenes of the config's level."""
    from finevit.evaluation.probes.data import fitting, folders, scenes
    from finevit.evaluation.probes.features import dataset_of

    if arguments.data:
        return folders(arguments.data, arguments.probes or fitting(arguments.data))
    return scenes(arguments.probes or PROBES, level=dataset_of(cfg).get("source", {}).get("level", "easy"))


def settings(arguments: argparse.Namespace, cfg: "Config") -> "Setting":
    """How many images, how they are loaded, and the seed."""
    from finevit.evaluation.probes.data import SCENES
    from finevit.evaluation.probes.run import Setting

    loader = cfg.get("val_dataloader") or {}
    train, test = arguments.images or ((None, None) if arguments.data else SCENES)
    return Setting(train, test, loader.get("batch_size", 16), loader.get("num_workers", 0), arguments.seed)


def main() -> None:
    """Opens checkpoint and data before any work, so that a wrong path is told at once."""
    with user_errors():
        arguments = parse_arguments()

        from finevit.evaluation.probes.features import load_encoder, open_checkpoint
        from finevit.evaluation.probes.run import check, evaluate
        from finevit.plugins import load_plugins
        from finevit.storage.places import check_writable

        load_plugins()
        checkpoint = open_checkpoint(arguments.checkpoint, arguments.config, arguments.cfg_options)
        encoder, setting = load_encoder(checkpoint, pixels=arguments.pixels), settings(arguments, checkpoint.cfg)
        check(setting)
        data = open_data(arguments, checkpoint.cfg)
        arguments.work_dir = arguments.work_dir or str(Path(arguments.checkpoint).parent / "probes")
        check_writable(arguments.work_dir)
        found = [evaluate(encoder, each, setting) for each in data]
        untrained = load_encoder(checkpoint, pixels=arguments.pixels, untrained=True) if arguments.untrained else None
        before = [evaluate(untrained, each, setting) if untrained else None for each in data]
        report(arguments, found, before, checkpoint.iteration, encoder.pixels)


def report(
    arguments: argparse.Namespace, found: "list[Evaluated]", before: "list[Evaluated | None]", iteration: int, pixels: int
) -> None:
    """Writes results.json and the page, prints the table."""
    from mmengine.device import get_device

    from finevit.engine.test_run import table
    from finevit.evaluation.probes.features import precision
    from finevit.evaluation.probes.run import ProbeResults
    from finevit.provenance import provenance
    from finevit.visualization.probes import page
    from finevit.visualization.report import write

    results, names = ProbeResults(arguments.work_dir), list[str]()
    results.resume(math.inf)
    for each, untrained in zip(found, before, strict=True):
        told = {"checkpoint": arguments.checkpoint, "iteration": iteration, "seed": arguments.seed, "pixels": pixels}
        names += results.add_probes(each, untrained, **told)
    print(f"{table({name: results.benchmarks[name] for name in names})}\nprecision: {precision()}")
    facts = [
        ("Checkpoint", f"{Path(arguments.checkpoint).name}, iteration {iteration:,}"),
        ("Data", "; ".join(str(results.benchmarks[name]["data"]["description"]) for name in names[:1])),
        ("Images", f"at their own aspect ratio, at most {pixels:,} pixels"),
        ("Precision", precision()),
        ("Seed", str(arguments.seed)),
    ]
    whole = replace(page(found, before, facts=facts, foreground=arguments.foreground), about=provenance(str(get_device())))
    shown = write(whole, Path(arguments.work_dir) / "probes.html")
    print(f"written to {results.path} and {shown}")
