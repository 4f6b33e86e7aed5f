"""Serves a checkpoint as an OpenAI-compatible endpoint: ``finevit serve CONFIG CHECKPOINT``. See docs/serving.md."""

import argparse
import importlib.util
import os
import signal
import sys
from typing import Any

from finevit.engine.cli import user_errors
from finevit.hub.trust import add_trust


def parse_arguments() -> argparse.Namespace:
    """Where to listen, and the limits of ``finevit.serving.limits.Limits``, whose defaults hold for what is left out."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("config", help="the config that the checkpoint was trained with")
    parser.add_argument("checkpoint", help="a checkpoint of finevit train, of Stage III")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: this machine alone)")
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument("--api-key", help="key that requests must bring (default: the variable FINEVIT_API_KEY, else none)")
    limits = parser.add_argument_group("limits of a request", "defaults: docs/serving.md")
    limits.add_argument("--max-body-mb", type=float, help="megabytes of its body")
    limits.add_argument("--max-pixels", type=int, help="pixels of its image")
    limits.add_argument("--max-prompt-chars", type=int, help="characters of its texts")
    limits.add_argument("--max-tokens", type=int, help="tokens of its answer")
    limits.add_argument("--receive-seconds", type=float, help="time in which it must have arrived")
    limits.add_argument("--decode-seconds", type=float, help="time in which its image must have been decoded")
    limits.add_argument("--answer-seconds", type=float, help="time until its answer, with its time in the queue")
    limits.add_argument("--max-requests", type=int, help="requests that wait or are answered; who comes beyond is refused")
    limits.add_argument("--max-connections", type=int, help="connections, with and without requests; fewer where ulimit -n is low")
    add_trust(parser)
    return parser.parse_args()


def limits_of(arguments: argparse.Namespace) -> dict[str, Any]:
    """The limits that the command line names."""
    given = {
        "body_bytes": None if arguments.max_body_mb is None else int(arguments.max_body_mb * 2**20),
        "pixels": arguments.max_pixels,
        "prompt_chars": arguments.max_prompt_chars,
        "max_tokens": arguments.max_tokens,
        "receive_s": arguments.receive_seconds,
        "decode_s": arguments.decode_seconds,
        "answer_s": arguments.answer_seconds,
        "requests": arguments.max_requests,
        "connections": arguments.max_connections,
    }
    return {name: value for name, value in given.items() if value is not None}


def check_installed() -> None:
    """The server is an extra."""
    missing = [name for name in ("starlette", "uvicorn") if importlib.util.find_spec(name) is None]
    if missing:
        raise SystemExit(f"error: {' and '.join(missing)} not installed; `pip install {' '.join(missing)}`")


def warn(host: str, key: str) -> None:
    """Say who can reach the model, where it is more than this machine."""
    guard = "whoever has the API key can use it; it travels unencrypted" if key else "everybody there can use it; set --api-key"
    print(f"warning: --host {host} can be reached from other machines: {guard}", file=sys.stderr)


def serve(arguments: argparse.Namespace) -> None:
    """Checks what can be checked before the model is loaded."""
    from finevit.plugins import load_plugins
    from finevit.serving.app import make_app
    from finevit.serving.aside import prepare
    from finevit.serving.checkpoint import load_answerer
    from finevit.serving.limits import Limits
    from finevit.serving.server import check_free, is_loopback, make_server

    limits = Limits(**limits_of(arguments))
    check_free(arguments.host, arguments.port)
    key = arguments.api_key or os.environ.get("FINEVIT_API_KEY", "")
    if not is_loopback(arguments.host):
        warn(arguments.host, key)
    prepare()
    load_plugins()
    app = make_app(load_answerer(arguments.config, arguments.checkpoint), limits, api_key=key)
    make_server(app, host=arguments.host, port=arguments.port, limits=limits).run()


def main() -> None:
    """Serves until it is interrupted."""
    try:
        with user_errors():
            arguments = parse_arguments()
            check_installed()
            serve(arguments)  # uvicorn raises a signal again when it has ended
    except SystemExit as end:  # by a signal; an answer that nobody reads is not waited for
        if isinstance(end.code, int) and end.code > 128:
            signal.signal(end.code - 128, signal.SIG_DFL)
            signal.raise_signal(end.code - 128)
        raise
