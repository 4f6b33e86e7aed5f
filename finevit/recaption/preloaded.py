"""What every process of a pool needs and takes long to import: read once, in the process that the others are forked from."""

from finevit.plugins import load_plugins
from finevit.recaption import work
from finevit.recaption.passes import index

load_plugins()

__all__ = ["index", "work"]
