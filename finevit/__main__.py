"""The command ``finevit``, also as ``python -m finevit``. Its subcommands are the modules of :mod:`finevit.commands`."""

import argparse
import ast
import sys
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules

from finevit import __version__, commands
from finevit.suggest import did_you_mean


def names() -> dict[str, str]:
    """The module of each command: ``import_weights`` of ``import-weights``."""
    return {found.name.replace("_", "-"): found.name for found in iter_modules(commands.__path__)}


def about(module: str) -> str:
    """What a command does: the first sentence of its module, which is not imported for it."""
    text = ast.get_docstring(ast.parse((Path(commands.__path__[0]) / f"{module}.py").read_text("utf-8"))) or ""
    return text.partition("\n")[0].partition(": ``")[0].removesuffix(".")


def known(name: str) -> str:
    """For argparse: the name of a command."""
    if name not in names():
        raise argparse.ArgumentTypeError(f"{name!r} is no command{did_you_mean(name, names())}; there are: {', '.join(names())}")
    return name


def main() -> None:
    """Hands the arguments on to the command that the first of them names."""
    parser = argparse.ArgumentParser(
        prog="finevit",
        usage="%(prog)s COMMAND ...",
        description="Vision foundation models with fine-grained perception; `finevit COMMAND --help` says more.",
        epilog="\n".join(["commands:", *(f"  {name:<18}{about(module)}" for name, module in names().items())]),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"FineViT {__version__}")
    parser.add_argument("command", type=known, metavar="COMMAND", help="what to do")
    parser.add_argument("arguments", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)
    given = parser.parse_args(sys.argv[1:] or ["--help"])
    sys.argv = [f"finevit {given.command}", *given.arguments]
    import_module(f"finevit.commands.{names()[given.command]}").main()


if __name__ == "__main__":
    main()
