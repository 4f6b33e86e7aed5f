"""How many compiled kernels are kept on a CPU: half of what oneDNN and PyTorch keep by themselves.

In bfloat16 oneDNN compiles a kernel of about 0.6 MiB for each new shape of a product, and keeps 1,024; PyTorch keeps descriptions
of 1,024 more, of about 0.3 MiB each, also of kernels that oneDNN has dropped. Packs of native images have ever new shapes, so that
most of these are never used again.
"""

import os

CACHES = (("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "DNNL_PRIMITIVE_CACHE_CAPACITY"), ("LRU_CACHE_CAPACITY",))
"""The variables of oneDNN and of PyTorch, which read them at the first product; the second of oneDNN's is an older name."""
KEPT = 512


def bound() -> None:
    """Keep ``KEPT`` in each cache, here and in processes that this one starts, unless a variable of the user says how many."""
    for names in CACHES:
        if not any(name in os.environ for name in names):
            os.environ[names[0]] = str(KEPT)
