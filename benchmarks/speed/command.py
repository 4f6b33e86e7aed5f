"""``finevit bench``: measures how fast FineViT is beside its peers."""

import argparse
from pathlib import Path

import torch

from benchmarks.speed.benchmark import SPEED_BENCHMARKS
from benchmarks.speed.output import machine, table, write
from finevit.engine.cli import user_errors
from finevit.plugins import load_plugins


def parse_arguments() -> argparse.Namespace:
    """What all benchmarks share, and what each has of its own; ``--quick`` replaces the settings that it names."""
    parser = argparse.ArgumentParser(description=__doc__)
    commands = parser.add_subparsers(dest="benchmark", required=True)
    SPEED_BENCHMARKS.import_from_location()
    for name, benchmark in sorted(SPEED_BENCHMARKS.module_dict.items()):
        command = commands.add_parser(name, help=benchmark.compares, description=benchmark.compares)
        command.add_argument("--rounds", type=int, default=5, help="rounds that count, after one that does not (default: 5)")
        command.add_argument("--device", default="cpu", help="cpu or cuda (default: cpu)")
        command.add_argument("--threads", type=int, help="threads of PyTorch (default: its own choice)")
        command.add_argument("--out", type=Path, default=Path("work_dirs/bench"), help="where JSON and plot go")
        benchmark.add_options(command)
        told = "tiny sizes and one round, to see that it runs: no figures"
        command.add_argument("--quick", action="store_const", const=benchmark.quick, default={}, help=told)
    arguments = parser.parse_args()
    return argparse.Namespace(**{**vars(arguments), **arguments.quick})


def main() -> None:
    """Runs one benchmark, prints its table, writes JSON and plot."""
    arguments = parse_arguments()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    facts = machine(torch.device(arguments.device))
    benchmark = SPEED_BENCHMARKS.get(arguments.benchmark)
    with user_errors():
        load_plugins()
        result = benchmark.run(arguments)
    print(table(result.rows, benchmark.columns), "", *result.notes, sep="\n")
    data, picture = write(arguments.benchmark, benchmark.unit, result, facts, arguments.out)
    print(f"on {facts['device']}, {facts['threads']} threads; written to {data} and {picture}")
