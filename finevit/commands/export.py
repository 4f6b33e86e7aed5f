"""Exports a checkpoint: ``finevit export CHECKPOINT --to hf --out FOLDER``. Targets and their use: docs/export.md."""

import argparse

from finevit.engine.cli import user_errors
from finevit.hub.trust import add_trust

TARGETS = (
    "safetensors, hf, timm, onnx, open_clip (of Stage II), llava (of Stage III), or another exporter of `finevit inspect --names`"
)


def parse_arguments() -> argparse.Namespace:
    """What to export, for whom, and where to."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("checkpoint", help="a checkpoint of finevit train, of any stage")
    parser.add_argument("--to", required=True, metavar="TARGET", help=TARGETS)
    parser.add_argument("--out", required=True, metavar="FOLDER", help="a new or empty folder")
    parser.add_argument("--config", help="the config of the run (default: the one in the checkpoint)")
    add_trust(parser)
    return parser.parse_args()


def main() -> None:
    """Writes the whole folder, or nothing."""
    with user_errors():
        arguments = parse_arguments()

        from finevit.export.run import export
        from finevit.plugins import load_plugins

        load_plugins()
        for path in export(arguments.checkpoint, arguments.to, arguments.out, arguments.config):
            print(path)
