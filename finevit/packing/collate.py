"""Collate functions: a batch becomes one sequence of patches and one of tokens in the worker, so that no step waits for the GPU."""

from collections import Counter
from collections.abc import Sequence

import numpy as np
import torch

from finevit.packing.images import cu_seqlens, pack_images
from finevit.packing.packs import IGNORE_INDEX, IMAGE_TOKEN, PackedDialogues
from finevit.packing.texts import pack_texts
from finevit.registry import FUNCTIONS


@FUNCTIONS.register_module()
def pack_samples(samples: Sequence[dict], *, keys: Sequence[str] = ()) -> dict:
    """The collate function: ``images`` (:class:`PackedImages`), ``texts`` (:class:`PackedTexts`) where captions were tokenised,
    ``id`` of every sample, ``skipped`` (messages about bad samples), ``counts`` (added up) and the named ``keys``.

    ``labels`` become one tensor ``[patches]`` over the pack, -1 where a sample has none; any other key stays a list with one
    entry an image.
    """
    positions = [sample["positions"] for sample in samples if "positions" in sample]
    batch: dict = {
        "images": pack_images(
            [sample["patches"] for sample in samples], [sample["shape"] for sample in samples], positions or None
        ),
        "id": [sample["id"] for sample in samples],
        "skipped": [message for sample in samples for message in sample["skipped"]],
        "counts": dict(sum((sample["counts"] for sample in samples), Counter())),
    }
    if "tokens" in samples[0]:
        batch["texts"] = pack_texts([sample["tokens"] for sample in samples], max_seq_len=samples[0]["max_seq_len"])
    for key in keys:
        batch[key] = _labels(samples) if key == "labels" else [sample[key] for sample in samples]
    return batch


@FUNCTIONS.register_module()
def pack_dialogues(samples: Sequence[dict], *, keys: Sequence[str] = ()) -> dict:
    """The collate function of Stage III: ``pack_samples`` with ``dialogues`` (:class:`~finevit.packing.packs.PackedDialogues`)."""
    batch = pack_samples(samples, keys=keys)
    parts = [sample["dialogue"] for sample in samples]
    tokens, labels, position_ids, segment_ids = (torch.from_numpy(np.concatenate(column)) for column in zip(*parts, strict=True))
    seqlens = tuple(len(part[0]) for part in parts)
    batch["dialogues"] = PackedDialogues(
        tokens=tokens,
        labels=labels,
        position_ids=position_ids,
        segment_ids=segment_ids,
        cu_seqlens=cu_seqlens(seqlens),
        seqlens=seqlens,
        visual=tuple(int((part[0] == IMAGE_TOKEN).sum()) for part in parts),
        answers=tuple(int(part[3].max()) for part in parts),
        supervised=int((labels != IGNORE_INDEX).sum()),
    )
    return batch


def _labels(samples: Sequence[dict]) -> torch.Tensor:
    unknown = (np.full(len(s["patches"]), -1, np.int64) if s["labels"] is None else s["labels"] for s in samples)
    return torch.from_numpy(np.concatenate(list(unknown)))
