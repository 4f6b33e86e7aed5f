"""The dataset: a source of records and a chain of transforms become samples for the collate function."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from itertools import islice
from typing import Annotated, Any

import numpy as np
from annotated_types import Ge, Predicate
from mmengine.dataset import Compose
from pydantic import PositiveInt
from torch.utils.data import Dataset

from finevit.contracts import PATCH, BadSample, ImageBudget, Record, SampleRequest, Source
from finevit.datasets import worker_board
from finevit.datasets.decoding.images import decode
from finevit.datasets.schedules import schedulable
from finevit.datasets.transforms.caption_transforms import ChoosesCaptions
from finevit.datasets.transforms.image_transforms import Patchify, ResizeToBudget
from finevit.ops.patches import snapped_size
from finevit.ops.stateless_shuffle import seed_of, shuffled
from finevit.printable import printable
from finevit.registry import DATASETS, kind_of

RETRIES = 20
"""How many unusable records in a row are passed over before the run stops; of fewer records, all."""
PIXELS = 256 * 256
"""Area in pixels of images for which nothing else is asked."""


def _with(config: Any, built: Any, values: Mapping[str, object]) -> Any:
    """A transform with other values of some arguments; ``ValueError`` where its config is not known."""
    if not values:
        return built
    if not isinstance(config, dict):
        raise ValueError(f"dataset.transforms: {kind_of(config)} is scheduled; give its config, a dict, instead of the transform")
    return type(built)(**{**{key: value for key, value in config.items() if key not in ("type", "_scope_")}, **values})


@DATASETS.register_module()
class NativeImages(Dataset):
    """Records at native resolution.

    A request is a ``SampleRequest`` of the batch sampler, whose scheduled values take the place of what transforms' configs say,
    or a plain index (evaluation), which gets the budget ``pixels``. A record that cannot be used is replaced by another; the
    sample's ``skipped`` says which and why. What else transforms want to be known of the data (captions cut or dropped) they add up
    in ``counts``.

    Args:
        source: a :class:`~finevit.contracts.Source` or its config.
        transforms: configs of the transforms, or transforms, applied in order.
        pixels: area in pixels for requests without a budget.
        square: whether those requests ignore the aspect ratio.
        max_seq_len: the most tokens of a text where the transform that tokenises says no number; 0 for none.
        seed: randomness of the transforms, together with the position.
    """

    def __init__(
        self,
        *,
        source: Source | dict,
        transforms: Sequence[dict | Annotated[Any, Predicate(callable), "a transform"]],
        pixels: PositiveInt = PIXELS,
        square: bool = False,
        max_seq_len: Annotated[int, Ge(0), "the most tokens of a caption"] = 0,
        seed: int = 0,
    ) -> None:
        self.source: Source = DATASETS.build(source) if isinstance(source, dict) else source
        self.transforms = Compose(transforms)
        self._configs = list(transforms)
        self._last: tuple[Mapping, Compose] = ({}, self.transforms)
        for transform in self.transforms.transforms:
            if isinstance(transform, ChoosesCaptions):
                transform.check(self.source)
        self.budget, self.max_seq_len = ImageBudget(pixels, square), max_seq_len
        self.seed = seed

    @cached_property
    def schedulable(self) -> dict[str, dict[str, bool]]:
        """Name of each transform -> the arguments that may be scheduled, and whether these take whole numbers alone."""
        return {kind_of(config): schedulable(type(built)) for config, built in self._steps()}

    def transforms_at(self, scheduled: Mapping[str, Mapping[str, object]]) -> list[Any]:
        """The transforms with the scheduled values (name -> argument -> value) in place of what the config says."""
        return [_with(config, built, scheduled.get(kind_of(config), {})) for config, built in self._steps()]

    def _chain(self, scheduled: Mapping) -> Compose:
        """The transforms of a request; a batch, and often the next, asks for the same values."""
        if scheduled != self._last[0]:
            self._last = (scheduled, Compose(self.transforms_at(scheduled)))
        return self._last[1]

    def _steps(self) -> Iterator[tuple[dict, Any]]:
        return zip(self._configs, self.transforms.transforms, strict=True)

    @property
    def metainfo(self) -> dict:
        """What MMEngine stores in the checkpoint: a line that identifies the data."""
        return {"source": self.source.describe()}

    def describe(self) -> str:
        """One line for people: what the source says of itself."""
        return self.source.describe()

    def __len__(self) -> int:
        return len(self.source)

    def record_at(self, position: int, seed: int) -> int:
        """The record at a place of the endless training order: the source's own, where it has one, else all records shuffled."""
        own = getattr(self.source, "record_at", None)
        return own(position, seed) if own else shuffled(position, len(self), seed)

    def patches(self, record: int, budget: ImageBudget) -> int | None:
        """Patches that a record has after ``ResizeToBudget``, told without its pixels; None where that is not known.

        What cuts an image or leaves patches out is not looked at.
        """
        steps = self.transforms.transforms
        resize = next((transform for transform in steps if isinstance(transform, ResizeToBudget)), None)
        patch = next((transform.patch for transform in steps if isinstance(transform, Patchify)), PATCH)
        size = self.source.size(record)
        if resize is None or size is None:
            return None
        height, width = snapped_size(*size, pixels=budget.pixels, square=budget.square, snap=resize.snap)
        return height * width // patch**2

    def __getitem__(self, request: SampleRequest | int) -> dict:
        if not isinstance(request, tuple):
            request = SampleRequest(request, request, self.budget)
        skipped: list[str] = []
        for index in self._candidates(request.record):
            worker_board.at(index)
            try:
                sample = self._sample(self.source[index], request)
            except BadSample as error:
                skipped.append(printable(str(error)))
            else:
                worker_board.at()
                return {**sample, "skipped": skipped}
        several = f" ({len(skipped)} different ones)" if len(skipped) < RETRIES else ""
        raise BadSample(f"{RETRIES} samples in a row cannot be used{several}; the data needs repair:\n" + "\n".join(skipped))

    def _candidates(self, record: int) -> Iterator[int]:
        """The record itself and its replacements, each once: bad files come in runs, so these lie all over the data.

        Of a mixture they are of the record's source, so that shares hold.
        """
        span: range = getattr(self.source, "span", lambda _: range(len(self)))(record)
        others = (span[shuffled(record - span.start + attempt, len(span), self.seed)] for attempt in range(1, 2 * RETRIES))
        return islice(dict.fromkeys((record, *others)), RETRIES)

    def _sample(self, record: Record, request: SampleRequest) -> dict:
        """What becomes of a record; a message about it begins with where the record stands, if its source says so."""
        try:
            return self._transformed(record, request)
        except BadSample as error:
            if "origin" not in record.facts:
                raise
            raise BadSample(f"{record.facts['origin']}, {error}") from None

    def _transformed(self, record: Record, request: SampleRequest) -> dict:
        image = record.image
        return self._chain(request.scheduled)(
            {
                "id": printable(record.id),
                "image": decode(image, name=record.id, target=request.budget.pixels) if isinstance(image, bytes) else image,
                "captions": record.captions,
                "captioners": getattr(self.source, "captioners", None),
                "unread": record.unread,
                "shared": record.shared,
                "regions": (*record.regions, *record.unplaced),
                "label_map": record.label_map,
                "facts": record.facts,
                "budget": request.budget,
                "max_seq_len": self.max_seq_len,
                "counts": +Counter({"unreadable captions": len(record.unread), "shared captions": len(record.shared)}),
                "rng": np.random.default_rng(seed_of(self.seed, request.position)),
            }
        )
