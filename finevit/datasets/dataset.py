"""The dataset: a source of records and a chain of transforms become samples for the collate function."""

from collections.abc import Sequence

import numpy as np
from mmengine.dataset import Compose
from torch.utils.data import Dataset

from finevit.contracts import BadSample, ImageBudget, Record, SampleRequest, Source
from finevit.datasets.images import decode
from finevit.ops.order import seed_of, shuffled
from finevit.registry import DATASETS

RETRIES = 20
"""How many unusable records in a row are passed over before the run stops."""


@DATASETS.register_module()
class NativeImages(Dataset):
    """Records at native resolution.

    A request is a ``SampleRequest`` of the batch sampler, or a plain index (evaluation), which gets the budget ``pixels``. A record
    that cannot be used is replaced by another; the sample's ``skipped`` says which and why.

    Args:
        source: a :class:`~finevit.contracts.Source` or its config.
        transforms: configs of the transforms, applied in order.
        pixels: area in pixels for requests without a budget.
        square: whether those requests ignore the aspect ratio.
        seed: randomness of the transforms, together with the position.
    """

    def __init__(
        self,
        *,
        source: Source | dict,
        transforms: Sequence[dict],
        pixels: int = 256 * 256,
        square: bool = False,
        seed: int = 0,
    ) -> None:
        self.source: Source = DATASETS.build(source) if isinstance(source, dict) else source
        self.transforms = Compose(transforms)
        self.budget = ImageBudget(pixels, square)
        self.seed = seed

    @property
    def metainfo(self) -> dict:
        """What MMEngine stores in the checkpoint: a line that identifies the data."""
        return {"source": self.source.describe()}

    def describe(self) -> str:
        """One line for people: what the source says of itself."""
        return self.source.describe()

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, request: SampleRequest | int) -> dict:
        record, position, budget = request if isinstance(request, tuple) else (request, request, self.budget)
        skipped: list[str] = []
        for attempt in range(RETRIES):
            try:
                # bad files come in runs: replacements are looked for all over the data
                index = shuffled(record + attempt, len(self), self.seed) if attempt else record
                sample = self._sample(self.source[index], position, budget)
            except BadSample as error:
                skipped.append(str(error))
            else:
                return {**sample, "skipped": skipped}
        raise BadSample(f"{RETRIES} samples in a row cannot be used; the data needs repair:\n" + "\n".join(skipped))

    def _sample(self, record: Record, position: int, budget: ImageBudget) -> dict:
        image = record.image
        return self.transforms(
            {
                "id": record.id,
                "image": decode(image, name=record.id, target=budget.pixels) if isinstance(image, bytes) else image,
                "captions": record.captions,
                "regions": record.regions,
                "label_map": record.label_map,
                "budget": budget,
                "rng": np.random.default_rng(seed_of(self.seed, position)),
            }
        )
