"""FineViT: a composable, plugin-based framework for vision foundation models (arXiv 2603.17326).

Importing this package registers nothing: components are imported when a config names them (see ``finevit.registry``). It lets
mmpretrain and mmdet load where their installation alone would not (see ``finevit.downstream``), and bounds the kernels that oneDNN
keeps in main memory (see ``finevit.kernels``).
"""

__version__ = "0.1.0"

from finevit import kernels
from finevit.downstream import finder, multimodal

kernels.bound()
finder.install()
multimodal.install()
