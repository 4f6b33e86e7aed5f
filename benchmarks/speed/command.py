"""``finevit bench``: measures how fast FineViT is beside its peers."""

import argparse
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

import torch

from benchmarks.speed.encoders import ENCODERS
from benchmarks.speed.output import machine, table, write
from benchmarks.speed.work import SIZES, WORKLOADS
from finevit.engine.cli import add_options, user_errors
from finevit.plugins import load_plugins

TINY = "finevit_tiny_stage1"
QUICK = "tiny sizes and one round, to see that it runs: no figures"


def parse_arguments() -> argparse.Namespace:
    """What all benchmarks share, and what each has of its own; ``--quick`` replaces the settings that it names."""
    parser = argparse.ArgumentParser(description=__doc__)
    commands = parser.add_subparsers(dest="benchmark", required=True)
    for name, (says, add) in BENCHMARKS.items():
        command = commands.add_parser(name, help=says, description=says)
        command.add_argument("--rounds", type=int, default=5, help="rounds that count, after one that does not (default: 5)")
        command.add_argument("--device", default="cpu", help="cpu or cuda (default: cpu)")
        command.add_argument("--threads", type=int, help="threads of PyTorch (default: its own choice)")
        command.add_argument("--out", type=Path, default=Path("work_dirs/bench"), help="where JSON and plot go")
        add(command)
    arguments = parser.parse_args()
    return argparse.Namespace(**{**vars(arguments), **arguments.quick})


def encoder(command: argparse.ArgumentParser) -> None:
    """Options of ``encoder``."""
    command.add_argument(
        "--encoders", nargs="+", choices=ENCODERS, default=list(ENCODERS), metavar="NAME", help=", ".join(ENCODERS)
    )
    command.add_argument("--size", choices=SIZES, default="peers", help="of all encoders (default: peers, 384 wide, 6 deep)")
    command.add_argument("--workloads", nargs="+", choices=WORKLOADS, default=["native", "448", "1008"], help="which images")
    command.add_argument("--repeat", type=int, default=1, help="so many times the images, to fill a GPU (default: 1)")
    command.add_argument("--modes", nargs="+", choices=("forward", "training"), default=["forward", "training"])
    command.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32", help="of the products, by autocast")
    command.add_argument("--compile", action="store_true", help="compile every block of every encoder, before the rounds")
    command.add_argument("--sides", nargs="+", type=int, default=[1024, 2048], help="of the square matrices that tell the limit")
    command.add_argument("--no-memory", dest="memory", action="store_false", help="do not measure memory, which starts processes")
    quick = {"size": "quick", "workloads": ["quick"], "rounds": 1, "sides": [64], "memory": False}
    command.add_argument("--quick", action="store_const", const=quick, default={}, help=QUICK)


def loss(command: argparse.ArgumentParser) -> None:
    """Options of ``loss``."""
    command.add_argument("--batches", nargs="+", type=int, default=[1024, 4096, 8192], help="how many images with their texts")
    command.add_argument("--dim", type=int, default=256, help="width of the embeddings (default: 256)")
    command.add_argument("--chunk", type=int, default=1024, help="side of our blocks (default: 1024, that of the configs)")
    command.add_argument("--no-memory", dest="memory", action="store_false", help="do not measure memory, which starts processes")
    quick = {"batches": [64], "dim": 16, "chunk": 32, "rounds": 1, "memory": False}
    command.add_argument("--quick", action="store_const", const=quick, default={}, help=QUICK)


def data(command: argparse.ArgumentParser) -> None:
    """Options of ``data``."""
    command.add_argument("--images", type=int, default=32, help="how many JPEGs (default: 32)")
    command.add_argument("--megapixels", type=float, default=1.0, help="of each (default: 1)")
    command.add_argument("--side", type=int, default=448, help="they are reduced to the area of this square (default: 448)")
    quick = {"images": 4, "megapixels": 0.2, "side": 112, "rounds": 1}
    command.add_argument("--quick", action="store_const", const=quick, default={}, help=QUICK)


def stage(command: argparse.ArgumentParser) -> None:
    """Options of ``stage``."""
    command.add_argument("--config", default=TINY, help=f"what is trained (default: {TINY})")
    add_options(command)
    command.add_argument("--steps", type=int, default=20, help="real steps that count (default: 20)")
    small = {"train_dataloader.batch_size": 2, "train_dataloader.num_workers": 0, "model.teacher.type": "RandomFeatureTeacher"}
    quick = {"steps": 2, "cfg_options": small}
    command.add_argument("--quick", action="store_const", const=quick, default={}, help=QUICK)


def startup(command: argparse.ArgumentParser) -> None:
    """Options of ``startup``."""
    command.add_argument("--config", default=TINY, help=f"what is trained (default: {TINY})")
    command.add_argument("--options", nargs="+", default=[], metavar="KEY=VALUE", help="handed to tools/train.py")
    command.add_argument("--warm", type=int, default=1, help="starts that do not count (default: 1)")
    quick = {"rounds": 1, "warm": 0, "options": ["model.teacher.type=RandomFeatureTeacher", "train_dataloader.batch_size=2"]}
    command.add_argument("--quick", action="store_const", const=quick, default={}, help=QUICK)


BENCHMARKS: dict[str, tuple[str, Callable[[argparse.ArgumentParser], None]]] = {
    "encoder": ("encoders of one size on the same images: ours and those of other libraries", encoder),
    "loss": ("contrastive losses, forward and backward: ours and those of open_clip", loss),
    "data": ("JPEG files to a pack on one core: our dataset, its decoder alone, a folder of torchvision", data),
    "stage": ("training steps of a config, and the balance of 1 to 64 simulated ranks", stage),
    "startup": ("seconds from the start of tools/train.py to the first step of the optimiser", startup),
}


def main() -> None:
    """Runs one benchmark, prints its table, writes JSON and plot."""
    arguments = parse_arguments()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    facts = machine(torch.device(arguments.device))
    with user_errors():
        load_plugins()
        result = import_module(f"benchmarks.speed.{arguments.benchmark}").run(arguments)
    print(table(result), "", *result.notes, sep="\n")
    data, picture = write(result, facts, arguments.out)
    print(f"on {facts['device']}, {facts['threads']} threads; written to {data} and {picture}")
