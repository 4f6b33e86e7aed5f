"""Plugins: installed packages that contribute teachers, resolution schedules and alignment LLMs to configs.

Only tools call ``load_plugins``; the library never does.
"""

from finevit.plugins.hookspecs import hookimpl
from finevit.plugins.manager import Plugin, PluginError, load_plugins, loaded_plugins

__all__ = ["Plugin", "PluginError", "hookimpl", "load_plugins", "loaded_plugins"]
