"""Cuts packs of images and of texts into packs of fewer."""

from collections.abc import Iterator

from finevit.contracts import PackedImages, PackedTexts


def split_images(images: PackedImages, size: int) -> Iterator[PackedImages]:
    """Packs of at most ``size`` consecutive images; views, no copies."""
    start = 0
    for first in range(0, len(images.lengths), size):
        lengths = images.lengths[first : first + size]
        end = start + sum(lengths)
        yield PackedImages(
            pixels=images.pixels[start:end],
            positions=images.positions[start:end],
            offsets=images.offsets[first : first + len(lengths) + 1] - start,
            shapes=images.shapes[first : first + size],
            lengths=lengths,
        )
        start = end


def split_texts(texts: PackedTexts, size: int) -> Iterator[PackedTexts]:
    """Packs of at most ``size`` consecutive texts."""
    start = 0
    for first in range(0, len(texts.lengths), size):
        lengths = texts.lengths[first : first + size]
        end = start + sum(lengths)
        offsets = texts.offsets[first : first + len(lengths) + 1] - start
        yield PackedTexts(texts.tokens[start:end], offsets, lengths, texts.limit)
        start = end
