"""The packs that stages compute on: images, texts and dialogues, each as one sequence without padding."""

from typing import NamedTuple

from torch import Tensor


class PackedImages(NamedTuple):
    """Native-resolution images as one sequence of patches, without padding.

    ``pixels``     ``[patches, pixels]``: uint8 from the loader, float after preprocessing.
    ``positions``  ``[patches, 2]`` int32: row and column of each patch in its image.
    ``cu_seqlens`` ``[images + 1]`` int32: where each image starts; the last entry is the number of patches.
    ``shapes``     rows and columns of each image's full grid, on the host.
    ``seqlens``    patches of each image, on the host: rows * columns unless patches were dropped.
    """

    pixels: Tensor
    positions: Tensor
    cu_seqlens: Tensor
    shapes: tuple[tuple[int, int], ...]
    seqlens: tuple[int, ...]


class PackedTexts(NamedTuple):
    """Tokenised texts as one sequence, without padding.

    ``tokens``      ``[text]`` int64: token ids of all texts, one after the other, with the tokenizer's own special tokens.
    ``cu_seqlens``  ``[texts + 1]`` int32: where each text starts; the last entry is the number of tokens.
    ``seqlens``     tokens of each text, on the host.
    ``max_seq_len`` the most tokens that a text of this batch may have (the schedule's value); encoders that were trained on
        padded texts pad to it, never beyond.
    """

    tokens: Tensor
    cu_seqlens: Tensor
    seqlens: tuple[int, ...]
    max_seq_len: int


IMAGE_TOKEN = -1
"""Stands in a dialogue's tokens where a visual token goes."""
IGNORE_INDEX = -100
"""Label of tokens that give no loss: images, prompts, questions (as in ``torch.nn.functional.cross_entropy``)."""


class PackedDialogues(NamedTuple):
    """Questions and answers about the images of a pack, as one sequence without padding (paper, Stage III).

    Each image owns one part of it: a prefix that holds its visual tokens, which all of its questions read, and one segment for each
    question with its answer. Segments do not see each other.

    ``tokens``       ``[text]`` int64: token ids; ``IMAGE_TOKEN`` where a visual token goes, one to one.
    ``labels``       ``[text]`` int64: the token itself where it is supervised (answers with their closing token), else
        ``IGNORE_INDEX``.
    ``position_ids`` ``[text]`` int64: positions in the dialogue: through the prefix, and in each segment on from its end.
    ``segment_ids``  ``[text]`` int64: 0 in the prefix, 1, 2, ... in the segments of an image.
    ``cu_seqlens``   ``[images + 1]`` int32: where each image's part starts; the last entry is the number of tokens.
    ``seqlens``      tokens of each image's part, on the host.
    ``visual``       visual tokens of each image's part, on the host.
    ``answers``      segments of each image, on the host.
    ``supervised``   how many of all tokens are supervised, on the host.
    """

    tokens: Tensor
    labels: Tensor
    position_ids: Tensor
    segment_ids: Tensor
    cu_seqlens: Tensor
    seqlens: tuple[int, ...]
    visual: tuple[int, ...]
    answers: tuple[int, ...]
    supervised: int
