"""How many compiled kernels oneDNN keeps on a CPU: half of its own default.

In bfloat16 it compiles a kernel of about 0.6 MiB for each new shape of a product, and keeps 1,024. Packs of native images have ever
new shapes, so that most of these are never used again.
"""

import os

NAMES = ("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "DNNL_PRIMITIVE_CACHE_CAPACITY")
"""oneDNN's own variables, which it reads at its first product."""
KEPT = 512


def bound() -> None:
    """Keep ``KEPT``, here and in processes that this one starts, unless a variable of the user says how many."""
    if not any(name in os.environ for name in NAMES):
        os.environ[NAMES[0]] = str(KEPT)
