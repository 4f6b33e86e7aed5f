"""FineViT: a composable, plugin-based framework for vision foundation models (arXiv 2603.17326).

Importing this package registers nothing: components are imported when a config names them (see ``finevit.registry``). mmcv
finds stand-ins for its compiled operations from here on, where it was installed without them (see ``finevit.downstream``).
"""

__version__ = "0.1.0"

from finevit.downstream import finder

finder.install()
