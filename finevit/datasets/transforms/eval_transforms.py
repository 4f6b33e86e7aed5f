"""Evaluation batches: every caption of an image counts, and every image counts once (evaluation of Stage II)."""

from collections.abc import Sequence
from itertools import chain
from typing import Annotated

from annotated_types import MinLen
from pydantic import PositiveInt

from finevit.contracts import BadSample, Source
from finevit.datasets.transforms.caption_transforms import check_captioners, most_tokens, wanted
from finevit.hub.tokenizers import load_tokenizer
from finevit.packing.collate import pack_samples
from finevit.packing.texts import cleaned, pack_texts
from finevit.registry import FUNCTIONS, TRANSFORMS


@TRANSFORMS.register_module()
class AllCaptions:
    """All captions of the record, in its order, as the protocols of retrieval ask: none is drawn, none is judged.

    Adds ``captions_list``, ``tokens`` (a list of ids for each caption) and ``truncated`` (whether each of them was cut). A record
    without a caption is a ``BadSample``.

    Args:
        tokenizer: name or folder (see :func:`finevit.hub.tokenizers.load_tokenizer`).
        names: which of the record's captions; None for those of the source's ``captioners``, or all where it has none.
        max_seq_len: the most tokens of a caption; None: the dataset's ``max_seq_len``.
    """

    def __init__(
        self,
        *,
        tokenizer: str,
        names: Annotated[Sequence[str], MinLen(1), "a list of captioners, such as ['long']"] | None = None,
        max_seq_len: PositiveInt | None = None,
    ) -> None:
        self.tokenizer, self.weights = load_tokenizer(tokenizer), None if names is None else dict.fromkeys(names, 1.0)
        self.max_seq_len = max_seq_len

    def check(self, source: Source) -> None:
        """``ValueError`` for a name that the source's captions do not have."""
        check_captioners(self.weights, "AllCaptions.names", source)

    def __call__(self, sample: dict) -> dict:
        weights, _ = wanted(self.weights, "AllCaptions.names", sample.get("captioners"))
        captions = [text for name, text in sample["captions"].items() if weights is None or weights.get(name)]
        texts = [text for text in map(cleaned, captions) if text]
        if not texts:
            whys = [*sample.get("unread", {}).values(), *(f"{name}: {why}" for name, why in sample.get("shared", {}).items())]
            unread = "".join(f"; {why}" for why in whys)
            raise BadSample(f"{sample['id']}: has no caption" + ("" if weights is None else f" of {', '.join(weights)}") + unread)
        limit = most_tokens(self.max_seq_len, sample, "AllCaptions.max_seq_len")
        tokens, truncated = self.tokenizer(texts, limit)
        sample["counts"].update({"truncated": sum(truncated)})
        return {**sample, "captions_list": texts, "tokens": tokens, "truncated": truncated, "max_seq_len": limit}


@TRANSFORMS.register_module()
class Label:
    """``label``, the class of the whole image, out of the record's facts; a record without one is a ``BadSample``."""

    def __call__(self, sample: dict) -> dict:
        if "label" not in sample["facts"]:
            raise BadSample(f"{sample['id']}: has no label")
        return {**sample, "label": sample["facts"]["label"]}


@FUNCTIONS.register_module()
def pack_evaluation(samples: Sequence[dict], *, keys: Sequence[str] = ()) -> dict:
    """The collate function of evaluations: ``pack_samples`` with all captions, and without replacements.

    ``texts`` holds the captions of all images, one image after the other, ``caption_counts`` how many each has. A sample that
    stands in for one that cannot be used would count twice: it is left out, and ``skipped`` keeps the message.
    """
    originals = [sample for sample in samples if not sample["skipped"]]
    if not originals:
        messages = [message for sample in samples for message in sample["skipped"]]
        raise BadSample("no image of a batch can be used:\n" + "\n".join(messages))
    without = [{key: value for key, value in sample.items() if key != "tokens"} for sample in originals]
    batch = pack_samples(without, keys=keys)
    batch["skipped"] = [message for sample in samples for message in sample["skipped"]]
    if "tokens" in originals[0]:
        tokens = list(chain.from_iterable(sample["tokens"] for sample in originals))
        batch["texts"] = pack_texts(tokens, max_seq_len=originals[0]["max_seq_len"])
        batch["caption_counts"] = tuple(len(sample["tokens"]) for sample in originals)
    return batch
