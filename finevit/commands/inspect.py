"""Print a config as it resolves, checked, with what set each value, and every name that configs can use with its place.

``finevit inspect CONFIG [--cfg-options KEY=VALUE ...]``; without a config, the names alone. What sets a value is a file and its
line, an option, a rule of loading (``finevit.config.rules``), or the default of a signature.
"""

import argparse
import math

from finevit.engine.cli import add_options, until_closed, user_errors

STYLES = {"--cfg-options": "bold green", "rule": "bold yellow", "default": "dim"}
"""Of a value on a terminal, by what set it; a file's are plain."""
WIDTH = 72


def parse_arguments() -> argparse.Namespace:
    """Flags like those of the other tools."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("config", nargs="?", help="a config file, or the name of one of FineViT's, such as finevit_tiny_stage1")
    add_options(parser)
    parser.add_argument("--names", action="store_true", help="print the names without the config")
    parser.add_argument("--all", action="store_true", help="with the names of MMEngine")
    return parser.parse_args()


def print_config(path: str, options: dict) -> None:
    """The resolved config with the origin of each value, or everything that is wrong with it."""
    from rich.console import Console
    from rich.text import Text

    from finevit.config.origins import Traced, show
    from finevit.config.validation import check_config

    traced = Traced(path, options)
    check_config(traced.cfg)
    console = Console(highlight=False, soft_wrap=True)
    for row in traced.rows():
        place, before = row.origin
        told = Text(f"{row.name}={show(row.value, math.inf)}".ljust(WIDTH), STYLES.get(place.partition(" ")[0], ""))
        console.print(told.append(f"  {place}", "dim").append(f", before {before}" if before else "", "dim"))
    for name, value, (place, before) in traced.dropped:
        console.print(f"dropped: {name}={show(value)} of {before}, by {place}")
    for name, what in traced.rules.items():
        console.print(f"rule {name}: {what}")


def print_names(everything: bool) -> None:
    """Each kind of component, its names, and where each comes from."""
    from finevit.plugins import loaded_plugins
    from finevit.registry import REGISTRIES

    plugins = {name: plugin for plugin in loaded_plugins() for names in plugin.contributes.values() for name in names}
    for kind, registry in REGISTRIES.items():
        registry.import_from_location()
        parent = registry.parent.module_dict if everything and registry.parent else {}
        names = {**parent, **registry.module_dict}
        print(f"\n{kind}")
        for name, component in sorted(names.items()):
            plugin = plugins.get(name) if name in registry.module_dict else None
            origin = f"  (plugin {plugin.name} of {plugin.distribution} {plugin.version})" if plugin else ""
            print(f"  {name:<28} {component.__module__}{origin}")


def main() -> None:
    """Entry point."""
    arguments = parse_arguments()
    with user_errors(), until_closed():
        from finevit.plugins import load_plugins

        load_plugins()
        if arguments.config and not arguments.names:
            print_config(arguments.config, arguments.cfg_options)
        print_names(arguments.all)
