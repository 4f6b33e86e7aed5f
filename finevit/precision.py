"""Where bfloat16 is worth having, and products in 8 bits."""

from functools import cache

import torch
from torch import nn

INSTRUCTIONS = ("avx512_bf16", "amx_bf16", "bf16")
FLOAT8 = (8, 9)
"""The least compute capability with products in 8 bits."""


@cache
def bfloat16_helps() -> bool:
    """Whether this machine computes faster in bfloat16: a GPU that knows it, or a CPU with instructions for it.

    Elsewhere it is emulated, and slower than float32.
    """
    if torch.cuda.is_available():
        return torch.cuda.is_bf16_supported(including_emulation=False)
    capabilities: dict = getattr(torch.cpu, "get_capabilities", dict)()
    return any(capabilities.get(name) for name in INSTRUCTIONS)


def float8_linears(module: nn.Module, *, emulate: bool = False) -> None:
    """Has torchao compute the products of a module's linear layers in 8 bits, with one scale a tensor; weights stay as they are.

    ``emulate`` computes what a GPU would, slowly and anywhere. Without it, ``ValueError`` where no GPU knows the format.
    """
    if not emulate and not (torch.cuda.is_available() and torch.cuda.get_device_capability() >= FLOAT8):
        here = f"{torch.cuda.get_device_name()} does not" if torch.cuda.is_available() else "there is none"
        raise ValueError(f"float8=True: it takes a GPU that computes in 8 bits, such as an H100, and {here}; set float8=False")
    try:
        from torchao.float8 import Float8LinearConfig, convert_to_float8_training
    except ModuleNotFoundError as error:
        raise ValueError('float8=True: torchao is not installed; pip install "finevit[float8]", or set float8=False') from error
    config = Float8LinearConfig(emulate=emulate, pad_inner_dim=True)  # a pack has any number of patches, a product 16 n
    convert_to_float8_training(module, config=config)
