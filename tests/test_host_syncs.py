"""No step waits for the device before its loss: on tensors that say ``cuda`` and hold nothing, what would read one back fails.

``FakeTensorMode`` runs the step of a GPU, with its kernel of variable length, where there is none: shapes and devices
are followed, values do not exist. What depends on a value (``item``, ``nonzero``, a boolean index) raises there, and copies between
host and device are noted.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from sample_steps import model_and_batch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import DataDependentOutputException, DynamicOutputShapeException, FakeTensorMode
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map


class Watch(TorchDispatchMode):
    """``waits``: operations with tensors on host and device for which the host waits; ``calls``: how often each was called."""

    def __init__(self) -> None:
        super().__init__()
        self.waits: list[str] = []
        self.calls = Counter[str]()

    def __torch_dispatch__(self, func: Callable, types: Any, args: Any = (), kwargs: dict | None = None) -> Any:
        result = func(*args, **(kwargs or {}))
        self.calls[func.name()] += 1
        before = {t.device.type for t in tree_leaves((args, kwargs)) if isinstance(t, Tensor) and t.ndim}
        after = {t.device.type for t in tree_leaves(result) if isinstance(t, Tensor) and t.ndim}
        if len(before | after) > 1 and not (kwargs or {}).get("non_blocking"):
            self.waits.append(f"{func} {sorted(before)} -> {sorted(after)}")
        return result


def to_device(model: nn.Module, fake: FakeTensorMode) -> None:
    """Parameters and buffers on a device that is not there, those of parts which are no submodules (a teacher) too."""
    parts = [model, *(value for value in vars(model).values() if isinstance(value, nn.Module))]
    moved: dict[int, Tensor] = {}
    for module in (module for part in parts for module in part.modules()):
        for own in (module._parameters, module._buffers):
            for name, value in own.items():
                if value is not None and id(value) not in moved:
                    there = fake.from_tensor(value.detach()).cuda()
                    moved[id(value)] = nn.Parameter(there, value.requires_grad) if isinstance(value, nn.Parameter) else there
                own[name] = None if value is None else moved[id(value)]


@contextmanager
def half_precision() -> Iterator[None]:
    """bfloat16 by autocast, which refuses by itself where no device is."""
    before = torch.is_autocast_enabled("cuda"), torch.get_autocast_dtype("cuda")
    torch.set_autocast_enabled("cuda", True)
    torch.set_autocast_dtype("cuda", torch.bfloat16)
    try:
        yield
    finally:
        torch.set_autocast_enabled("cuda", before[0])
        torch.set_autocast_dtype("cuda", before[1])


def step(name: str) -> Watch:
    """A training step of a tiny config, from the batch on the device to the loss."""
    model, batch = model_and_batch(name, 2)
    with FakeTensorMode(allow_non_fake_inputs=True) as fake:
        to_device(model, fake)
        batch = tree_map(lambda value: fake.from_tensor(value) if isinstance(value, Tensor) else value, batch)
        model.data_preprocessor._device = torch.device("cuda")  # as its cuda() would set
        data = model.data_preprocessor(batch, True)
        kernels = sdpa_kernel([SDPBackend.FLASH_ATTENTION, SDPBackend.MATH])  # cuDNN would be asked for its version
        with Watch() as watch, half_precision(), kernels:
            loss = model.parse_losses(model(**data, mode="loss"))[0]
        assert loss.requires_grad
        assert loss.device.type == "cuda"
    return watch


@pytest.mark.parametrize(("name", "blocks"), [("stage1", 6), ("stage2", 6 + 2), ("stage3", 6)])
def test_a_step_does_not_wait_for_the_device(name, blocks):
    """Nor does attention go from image to image, or from caption to caption: each block calls one kernel."""
    watch = step(name)
    assert watch.waits == []
    assert watch.calls["torch_attn::_varlen_attn"] == blocks


@pytest.mark.parametrize(
    ("read", "error"), [(lambda x: x.sum().item(), DataDependentOutputException), (lambda x: x[x > 0], DynamicOutputShapeException)]
)
def test_what_waits_is_found(read, error):
    with FakeTensorMode(), pytest.raises(error):
        read(torch.zeros(3, device="cuda"))


def test_copies_are_found():
    with FakeTensorMode(), Watch() as watch:
        torch.zeros(3).to("cuda")
        torch.zeros(3, device="cuda").cpu()
    assert len(watch.waits) == 2
