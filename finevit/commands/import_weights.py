"""Weights of another vision encoder for ours: ``finevit import-weights MODEL --out FILE``. See docs/export.md."""

import argparse

from finevit.engine.cli import until_closed, user_errors


def parse_arguments() -> argparse.Namespace:
    """Which model, and whether to take what fits."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", help="hub name or folder: SigLIP, SigLIP2, DINOv2, DINOv3 or Qwen2.5-VL")
    told = "checkpoint to write, for --cfg-options load_from=FILE; safetensors where its name ends so"
    parser.add_argument("--out", required=True, metavar="FILE", help=told)
    parser.add_argument("--partial", action="store_true", help="take over the weights that fit, and begin the others anew")
    return parser.parse_args()


def main() -> None:
    """Prints what was taken over, and what was not."""
    arguments = parse_arguments()
    with user_errors(), until_closed():
        from finevit.export.imports import import_tower, load_tower, report, save

        encoder, found = import_tower(load_tower(arguments.model), partial=arguments.partial)
        save(encoder, found, arguments.out, arguments.model)
        print(*report(encoder, found), f"written to {arguments.out}", sep="\n")
