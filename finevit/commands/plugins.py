"""List the installed plugins and the names that they contribute to configs."""

import argparse

from finevit.engine.cli import until_closed, user_errors


def main() -> None:
    """Entry point."""
    argparse.ArgumentParser(description=__doc__).parse_args()
    with user_errors(), until_closed():
        from finevit.plugins import loaded_plugins

        for plugin in loaded_plugins():
            print(f"{plugin.name}  ({plugin.distribution} {plugin.version})")
            for kind, names in plugin.contributes.items():
                print(f"  {kind}: {', '.join(names)}")
            if not plugin.contributes:
                print("  contributes nothing: does each of its functions carry @finevit.plugins.hookimpl?")
