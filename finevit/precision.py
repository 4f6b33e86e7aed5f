"""Where bfloat16 is worth having."""

from functools import cache

import torch

INSTRUCTIONS = ("avx512_bf16", "amx_bf16", "bf16")


@cache
def bfloat16_helps() -> bool:
    """Whether this machine computes faster in bfloat16: a GPU that knows it, or a CPU with instructions for it.

    Elsewhere it is emulated, and slower than float32.
    """
    if torch.cuda.is_available():
        return torch.cuda.is_bf16_supported(including_emulation=False)
    capabilities: dict = getattr(torch.cpu, "get_capabilities", dict)()
    return any(capabilities.get(name) for name in INSTRUCTIONS)
