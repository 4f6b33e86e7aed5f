"""FineViT: a composable, plugin-based framework for vision foundation models (arXiv 2603.17326).

Importing this package registers nothing: components are imported when a config names them (see ``finevit.registry``).
"""

__version__ = "0.1.0"
