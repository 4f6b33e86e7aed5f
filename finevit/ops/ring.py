"""Tensors that travel around the ring of ranks while the caller computes: each rank hands on to the next what it has used."""

from collections.abc import Iterator

import torch
import torch.distributed as dist
from torch import Tensor


class Shift:
    """Starts to send ``tensor`` to the next rank and to receive the previous rank's, which :meth:`wait` returns.

    Every rank must start the same shifts in the same order, with tensors of one shape and type; ``tensor`` may be read meanwhile,
    not written. Shifts with different ``tag`` may be under way together. A rank that is alone gets its own tensor back.
    """

    def __init__(self, tensor: Tensor, *, tag: int = 0, group: dist.ProcessGroup | None = None) -> None:
        self.arriving, self.works = tensor, []
        world = world_size(group)
        if world > 1:
            rank = dist.get_rank(group)
            self.leaving, self.arriving = tensor, torch.empty_like(tensor)  # both must outlive the transfer
            send = dist.P2POp(dist.isend, self.leaving, group=group, tag=tag, group_peer=(rank + 1) % world)
            receive = dist.P2POp(dist.irecv, self.arriving, group=group, tag=tag, group_peer=(rank - 1) % world)
            self.works = dist.batch_isend_irecv([send, receive])

    def wait(self) -> Tensor:
        """The previous rank's tensor. On CUDA the stream waits, not the host."""
        for work in self.works:
            work.wait()
        return self.arriving


def ring(tensor: Tensor, group: dist.ProcessGroup | None = None) -> Iterator[Tensor]:
    """The tensors of all ranks, this rank's first; the next one travels while the caller works with the present one."""
    for _ in range(world_size(group) - 1):
        shift = Shift(tensor, group=group)
        yield tensor
        tensor = shift.wait()
    yield tensor


def world_size(group: dist.ProcessGroup | None = None) -> int:
    """Number of ranks; 1 where nothing is distributed."""
    return dist.get_world_size(group) if dist.is_available() and dist.is_initialized() else 1
