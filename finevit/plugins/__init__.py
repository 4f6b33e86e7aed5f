"""Plugins: installed packages that contribute components to configs, such as teachers, alignment LLMs and captioners.

Only tools call ``load_plugins``; the library never does.
"""

from finevit.plugins.hookspecs import hookimpl
from finevit.plugins.manager import Plugin, PluginError, load_plugins, loaded_plugins

__all__ = ["Plugin", "PluginError", "hookimpl", "load_plugins", "loaded_plugins"]
