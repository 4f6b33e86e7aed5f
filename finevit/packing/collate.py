"""Packs a batch into one sequence of patches and one of tokens, in the worker, so that no forward pass asks the GPU a question."""

from collections import Counter
from collections.abc import Sequence

import numpy as np
import torch

from finevit.contracts import PackedImages
from finevit.packing.texts import pack_texts
from finevit.registry import FUNCTIONS


def pack(
    patches: Sequence[np.ndarray], shapes: Sequence[tuple[int, int]], positions: Sequence[np.ndarray] | None = None
) -> PackedImages:
    """Images as ``uint8 [rows * cols, pixels]`` and their grids -> one :class:`PackedImages`.

    Where patches were dropped, ``positions`` are row and column of those that are left, ``[kept, 2]`` per image.
    """
    if positions is None:
        positions = [np.indices((rows, cols)).reshape(2, -1).T for rows, cols in shapes]
    lengths = tuple(len(image) for image in patches)
    assert lengths == tuple(len(place) for place in positions), "as many positions as patches"
    return PackedImages(
        pixels=torch.from_numpy(np.concatenate(patches)),
        positions=torch.from_numpy(np.concatenate(positions).astype(np.int32)),
        offsets=torch.from_numpy(np.cumsum((0, *lengths)).astype(np.int32)),
        shapes=tuple((int(rows), int(cols)) for rows, cols in shapes),
        lengths=lengths,
    )


@FUNCTIONS.register_module()
def pack_samples(samples: Sequence[dict], *, keys: Sequence[str] = ()) -> dict:
    """The collate function: ``images`` (:class:`PackedImages`), ``texts`` (:class:`PackedTexts`) where captions were tokenised,
    ``id`` of every sample, ``skipped`` (messages about bad samples), ``counts`` (added up) and the named ``keys``.

    ``labels`` become one tensor ``[patches]`` over the pack, -1 where a sample has none; any other key stays a list with one
    entry an image.
    """
    places = [sample["positions"] for sample in samples if "positions" in sample]
    batch: dict = {
        "images": pack([sample["patches"] for sample in samples], [sample["shape"] for sample in samples], places or None),
        "id": [sample["id"] for sample in samples],
        "skipped": [message for sample in samples for message in sample["skipped"]],
        "counts": dict(sum((sample["counts"] for sample in samples), Counter())),
    }
    if "tokens" in samples[0]:
        batch["texts"] = pack_texts([sample["tokens"] for sample in samples], limit=samples[0]["text_length"])
    for key in keys:
        batch[key] = _labels(samples) if key == "labels" else [sample[key] for sample in samples]
    return batch


def _labels(samples: Sequence[dict]) -> torch.Tensor:
    unknown = (np.full(len(s["patches"]), -1, np.int64) if s["labels"] is None else s["labels"] for s in samples)
    return torch.from_numpy(np.concatenate(list(unknown)))
