"""Contrastive objectives over the pairs of all ranks, without a matrix of all pairs (paper, Stage II; SigLIP; CLIP).

Logits exist one block of ``chunk x chunk`` at a time: forward keeps the embeddings alone, backward computes each block again.
Pieces of ``chunk`` embeddings travel around the ring of ranks, in backward with their gradient, which comes home complete.

Each rank returns the loss of its own rows: the mean over ranks is the loss of all pairs, and averaging the gradients of parameters
over ranks, as DistributedDataParallel does, gives its exact gradient. All ranks must hold equally many images.
"""

from collections.abc import Callable, Iterator
from typing import Any

import torch
import torch.distributed as dist
from jaxtyping import Float
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable
from torch.distributed import ProcessGroup


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


def sigmoid_loss(
    image: Float[Tensor, "images embed"],
    text: Float[Tensor, "images embed"],
    scale: Float[Tensor, ""],
    bias: Float[Tensor, ""],
    *,
    chunk: int = 1024,
    group: ProcessGroup | None = None,
) -> Float[Tensor, ""]:
    """SigLIP: ``-1/n sum_ij log sigmoid(y_ij (scale <image_i, text_j> + bias))``, ``y_ij`` 1 for an image's own text, else -1.

    ``n`` are this rank's images, ``j`` runs over the texts of all ranks.
    """
    image, text, scale, bias = _exact(image, text, scale, bias, chunk=chunk)
    return _Sigmoid.apply(image, text, scale, bias, chunk, group)


def softmax_loss(
    image: Float[Tensor, "images embed"],
    text: Float[Tensor, "images embed"],
    scale: Float[Tensor, ""],
    *,
    chunk: int = 1024,
    group: ProcessGroup | None = None,
) -> Float[Tensor, ""]:
    """CLIP: the cross-entropies of each image's text among all texts and of each text's image among all images, averaged."""
    image, text, scale = _exact(image, text, scale, chunk=chunk)
    return (_Softmax.apply(image, text, scale, chunk, group) + _Softmax.apply(text, image, scale, chunk, group)) / 2


class _Sigmoid(Function):
    """Sum over pairs of ``softplus(-y z)``; the sign ``y`` only differs on the diagonal of this rank's own blocks."""

    @staticmethod
    def forward(ctx: Any, image: Tensor, text: Tensor, scale: Tensor, bias: Tensor, chunk: int, group: Any) -> Tensor:
        ctx.save_for_backward(image, text, scale, bias)
        ctx.where = chunk, group
        loss, zero = image.new_zeros(()), image.new_zeros(())
        for _, logits, diagonal in _all_blocks(image, text, scale, bias, chunk, group):
            diagonal.neg_()
            loss += torch.logaddexp(logits, zero, out=logits).sum()
        return loss / len(image)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        def slope(_: slice, logits: Tensor, diagonal: Tensor) -> None:
            diagonal.neg_()
            logits.sigmoid_()
            diagonal.neg_()

        image, *others = ctx.saved_tensors
        return *_gradients(slope, grad / len(image), image, *others, *ctx.where), None, None


class _Softmax(Function):
    """Mean over queries of ``log sum_j exp(z_ij) - z_ii``: one direction of CLIP's loss."""

    @staticmethod
    def forward(ctx: Any, query: Tensor, key: Tensor, scale: Tensor, chunk: int, group: Any) -> Tensor:
        total, own = query.new_full((len(query),), -torch.inf), query.new_zeros(())
        for rows, logits, diagonal in _all_blocks(query, key, scale, query.new_zeros(()), chunk, group):
            own += diagonal.sum()
            total[rows] = torch.logaddexp(total[rows], logits.logsumexp(1))
        ctx.save_for_backward(query, key, scale, total)
        ctx.where = chunk, group
        return (total.sum() - own) / len(query)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        query, key, scale, total = ctx.saved_tensors

        def slope(rows: slice, logits: Tensor, diagonal: Tensor) -> None:
            logits.sub_(total[rows, None]).exp_()
            diagonal.sub_(1)

        gradients = _gradients(slope, grad / len(query), query, key, scale, query.new_zeros(()), *ctx.where)
        return *gradients[:3], None, None


def _gradients(
    slope: Callable[[slice, Tensor, Tensor], None],
    weight: Tensor,
    query: Tensor,
    key: Tensor,
    scale: Tensor,
    bias: Tensor,
    chunk: int,
    group: Any,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Gradients by query, key, scale and bias; ``slope`` turns a block of logits into the loss's derivatives by them, in place."""
    query_grad, key_grad, bias_grad = torch.zeros_like(query), torch.empty_like(key), torch.zeros_like(bias)
    for columns in _pieces(len(key), chunk):
        home: Shift | None = None  # the piece's gradient, one rank behind the piece itself
        for piece in ring(key[columns], group):
            part = torch.zeros_like(piece)
            for rows, logits, diagonal in _blocks(query, piece, scale, bias, chunk, None if home else columns):
                slope(rows, logits, diagonal)
                query_grad[rows].addmm_(logits, piece)
                part.addmm_(logits.T, query[rows])
                bias_grad += logits.sum()
            part *= scale * weight
            home = Shift(part if home is None else part.add_(home.wait()), tag=1, group=group)
        assert home is not None
        key_grad[columns] = home.wait()
    query_grad *= weight
    scale_grad = torch.dot(query_grad.flatten(), query.flatten())
    return query_grad.mul_(scale), key_grad, scale_grad, bias_grad * weight


def _all_blocks(
    query: Tensor, key: Tensor, scale: Tensor, bias: Tensor, chunk: int, group: Any
) -> Iterator[tuple[slice, Tensor, Tensor]]:
    """The blocks of this rank's queries and the keys of all ranks."""
    for columns in _pieces(len(key), chunk):
        for step, piece in enumerate(ring(key[columns], group)):
            yield from _blocks(query, piece, scale, bias, chunk, None if step else columns)


def _blocks(
    query: Tensor, piece: Tensor, scale: Tensor, bias: Tensor, chunk: int, columns: slice | None
) -> Iterator[tuple[slice, Tensor, Tensor]]:
    """Rows, logits of these queries and the piece, and a view of those of matching pairs: none unless ``columns`` are the rows.

    The logits of one block are written over those of the last. (Autocast leaves operations with ``out`` as they are.)
    """
    scaled, space = (piece * scale).T, piece.new_empty(min(chunk, len(query)) * len(piece))
    for rows in _pieces(len(query), chunk):
        block = space[: (rows.stop - rows.start) * len(piece)].view(-1, len(piece))
        logits = torch.addmm(bias, query[rows], scaled, out=block)
        yield rows, logits, logits.diagonal() if rows == columns else logits[:0, 0]


def _pieces(count: int, chunk: int) -> list[slice]:
    return [slice(start, min(start + chunk, count)) for start in range(0, count, chunk)]


def _exact(image: Tensor, text: Tensor, *scalars: Tensor, chunk: int) -> list[Tensor]:
    """The arguments in one type of at least float32, contiguous for the transfer, once they are found to fit."""
    if image.ndim != 2 or image.shape != text.shape or not len(image):
        raise ValueError(f"image {[*image.shape]} and text {[*text.shape]}: give [images, embed] both, one text for each image")
    if chunk < 1:
        raise ValueError(f"chunk={chunk!r}: give a whole number of images, at least 1")
    exact = torch.promote_types(torch.promote_types(image.dtype, text.dtype), torch.float32)
    return [tensor.to(exact).contiguous() for tensor in (image, text, *scalars)]
