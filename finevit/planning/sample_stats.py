"""What the records of a planned step are like: some real ones go through the dataset as the batch sampler would ask for them."""

import time
from collections.abc import Sequence
from typing import NamedTuple

from torch.utils.data import DataLoader

from finevit.contracts import SampleRequest
from finevit.datasets.samplers import NativeBatchSampler

RECORDS = 64
"""They tell how many patches and tokens a step has."""


class Sampled(NamedTuple):
    """Per image: mean patches and text tokens, and the seconds that loading it takes."""

    samples: list[dict]
    patches: float
    tokens: float
    seconds: float


def sample(loader: DataLoader, step: int) -> Sampled:
    """Load the images of a step; where a batch has fewer than ``RECORDS``, those that follow as if they were of the same step."""
    batches = loader.batch_sampler
    assert isinstance(batches, NativeBatchSampler)
    requests = _requests(batches, step)
    loader.dataset[requests[0]]  # opens what is opened once
    begin = time.perf_counter()
    samples = [loader.dataset[request] for request in requests]
    seconds = time.perf_counter() - begin
    sums = (sum(_patches(each) for each in samples), sum(_tokens(each) for each in samples), seconds)
    return Sampled(samples, *(total / len(samples) for total in sums))


def typical(samples: Sequence[dict], count: int) -> list[dict]:
    """As many samples with patches as in the middles of equal parts of all; their tokens, independently, likewise."""
    places = [(2 * part + 1) * len(samples) // (2 * count) for part in range(count)]
    by_patches, by_tokens = sorted(samples, key=_patches), sorted(samples, key=_tokens)
    pairs = [(by_patches[place], by_tokens[place]) for place in places]
    return [{**image, "tokens": text["tokens"]} if "tokens" in text else image for image, text in pairs]


def _requests(batches: NativeBatchSampler, step: int) -> list[SampleRequest]:
    requests = batches.requests(step)
    first, later = requests[0], step
    while len(requests) < RECORDS:
        later += 1
        requests += [first._replace(record=each.record, position=each.position) for each in batches.requests(later)]
    return requests[:RECORDS]


def _patches(sample: dict) -> int:
    return len(sample["patches"])


def _tokens(sample: dict) -> int:
    """Of the caption, or of the dialogue with its visual tokens."""
    return len(sample["dialogue"][0] if "dialogue" in sample else sample.get("tokens", ()))
