"""Serves a stand-in for captioners and grounders: ``finevit stand-in``. It answers from the hidden truth of embedded scenes.

finevit stand-in --level easy --length 500 --port 8100
finevit stand-in --level easy --length 500 --noise 0.1 --faults 0.3

Its models are stand-in-a, stand-in-b and stand-in-c. It sees nothing: what it says tests a pipeline and proves nothing of a model.
GET /health answers when it is ready, GET /stats tells what was asked and paid.
"""

import argparse
import importlib.util
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from finevit.engine.cli import user_errors

if TYPE_CHECKING:
    from finevit.scenes.stand_in.album import Album


def main() -> None:
    """Serves until it is interrupted."""
    with user_errors():
        options = parse_args()
        if importlib.util.find_spec("uvicorn") is None or importlib.util.find_spec("starlette") is None:
            raise ValueError("starlette and uvicorn are not both installed; `pip install starlette uvicorn`")
        serve(options)


def parse_args() -> argparse.Namespace:
    """The command line."""
    from finevit.scenes.stand_in.faults import KINDS

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: this machine alone)")
    parser.add_argument("--port", type=int, default=8100)
    known = parser.add_argument_group("what it knows")
    known.add_argument("--level", default="easy", help="difficulty of the embedded scenes; none: no scenes")
    known.add_argument("--split", default="train", help="train, val or test")
    known.add_argument("--length", type=int, default=500, help="how many scenes")
    known.add_argument("--seed", type=int, default=0, help="seed of the scenes")
    known.add_argument("--max-side", type=int, help="longest side of the scenes in pixels")
    known.add_argument("--truth", type=Path, help="a file of JSON lines with the truth of other images")
    wrong = parser.add_argument_group("what it does wrong, by shares from 0 to 1")
    wrong.add_argument("--noise", type=share, default=0.0, help="of facts that are wrong")
    wrong.add_argument("--omissions", type=share, default=0.0, help="of facts, and of boxes, that are left out")
    wrong.add_argument("--boxes-noise", type=share, default=0.0, help="standard deviation of boxes' sides, of width and height")
    wrong.add_argument("--faults", type=share, default=0.0, help="of requests that fail, drawn anew for each attempt")
    wrong.add_argument("--fault-kinds", nargs="+", choices=KINDS, default=KINDS, metavar="KIND", help=", ".join(KINDS))
    wrong.add_argument("--noise-seed", type=int, default=0, help="seed of all of these")
    parser.add_argument("--latency", type=float, default=0.0, help="seconds until each answer")
    parser.add_argument("--hang-seconds", type=float, default=60.0, help="how long a request hangs that times out")
    return parser.parse_args()


def share(text: str) -> float:
    """A number from 0 to 1."""
    value = float(text)
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"{text} is not from 0 to 1")
    return value


def serve(options: argparse.Namespace) -> None:
    """Draws what it is to know, then listens."""
    import uvicorn

    from finevit.scenes.stand_in.answers import Answerer
    from finevit.scenes.stand_in.app import NOTICE, Behaviour, make_app
    from finevit.scenes.stand_in.witness import Manner
    from finevit.scenes.stand_in.wording import VOICES
    from finevit.serving.server import check_free

    check_free(options.host, options.port)
    album = make_album(options)
    manner = Manner(noise=options.noise, omissions=options.omissions, boxes_noise=options.boxes_noise)
    behaviour = Behaviour(faults=options.faults, kinds=options.fault_kinds, latency=options.latency, hang_s=options.hang_seconds)
    app = make_app(Answerer(album, manner=manner, seed=options.noise_seed), behaviour)
    print(f"{', '.join(VOICES)}: {NOTICE}", file=sys.stderr)
    print(f"knows {len(album):,} images; listens at http://{options.host}:{options.port}/v1", file=sys.stderr, flush=True)
    uvicorn.run(app, host=options.host, port=options.port, log_level="critical", access_log=False, timeout_graceful_shutdown=1)


def make_album(options: argparse.Namespace) -> "Album":
    """What the command line names."""
    from rich.console import Console
    from rich.progress import track

    from finevit.scenes import Scenes
    from finevit.scenes.stand_in.album import Album
    from finevit.scenes.stand_in.signs import signs_of
    from finevit.scenes.stand_in.told import read_truth

    told = read_truth(options.truth) if options.truth else {}
    if options.level == "none":
        return Album(None, None, told)
    scenes = Scenes(level=options.level, split=options.split, length=options.length, seed=options.seed, max_side=options.max_side)
    shown = partial(track, description="scenes", console=Console(stderr=True))
    return Album(scenes, signs_of(scenes, track=shown), told)


if __name__ == "__main__":
    main()
