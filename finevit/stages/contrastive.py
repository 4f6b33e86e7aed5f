"""Stage II: images and their recaptions meet in one space (paper, Stage II)."""

from collections.abc import Sequence
from typing import Any

import torch
from pydantic import PositiveInt
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from finevit.contracts import EncoderOutput, Head, TextEncoder
from finevit.packing.images import split_images
from finevit.packing.packs import PackedImages, PackedTexts
from finevit.packing.texts import split_texts
from finevit.registry import MODELS
from finevit.stages.base import Stage, build_part


@MODELS.register_module()
class ContrastiveLearning(Stage):
    """Contrastive learning of packed native-resolution images against their captions.

    Args:
        backbone: config of the image encoder.
        text_encoder: config of a :class:`~finevit.contracts.TextEncoder`.
        head: config of the head; ``image_dim`` and ``text_dim`` come from the towers.
        backbone_frozen: whether the encoder is kept as it is; a schedule can set it. Only texts then learn (locked-image tuning).
        text_frozen: the same of the text tower: the paper freezes it first, then trains both.
        micro_batch: exact gradient accumulation: the towers are run on so many images at a time and once more in the backward pass,
            so that memory is that of a micro-batch, while the loss still sees all pairs of the batch. (MMEngine's
            ``accumulative_counts`` averages the losses of separate batches: fewer pairs.) None runs the batch in one piece.
        data_preprocessor: config of the preprocessor.
    """

    title = "II, contrastive learning"
    switches = {"backbone": "backbone_frozen", "text_encoder": "text_frozen"}

    def __init__(
        self,
        *,
        backbone: dict,
        text_encoder: dict,
        head: dict,
        backbone_frozen: bool = False,
        text_frozen: bool = False,
        micro_batch: PositiveInt | None = None,
        data_preprocessor: dict | None = None,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(backbone=backbone, data_preprocessor=data_preprocessor, init_cfg=init_cfg)
        self.text_encoder = build_part("text_encoder", text_encoder, TextEncoder, "text encoder")
        widths = {"image_dim": self.backbone.dim, "text_dim": self.text_encoder.dim}
        self.head = build_part("head", {**head, **widths}, Head, "head", calls=("embed_images", "embed_texts"))
        self.backbone_frozen, self.text_frozen, self.micro_batch = backbone_frozen, text_frozen, micro_batch

    def forward(
        self, images: PackedImages, texts: PackedTexts | None = None, mode: str = "tensor", **extra: Any
    ) -> dict[str, Tensor] | EncoderOutput | list[dict]:
        """``loss``: the losses; ``tensor``: the image encoder's output; ``predict``: see :meth:`predict`."""
        if mode == "loss":
            if texts is None:
                remedy = "give train_dataloader.dataset transforms that read captions (PickCaption, Tokenize)"
                raise ValueError(f"ContrastiveLearning: the batches have no texts; {remedy}")
            return self.loss(images, texts)
        return self.predict(images, texts, **extra) if mode == "predict" else self.backbone(images)

    def loss(self, images: PackedImages, texts: PackedTexts) -> dict[str, Tensor]:
        """Losses of one batch, whose texts are the images' captions in the same order."""
        self.freeze()
        if self.micro_batch is None or self.micro_batch >= len(images.seqlens):
            return self.head.loss(self.embed_images(images), self.embed_texts(texts))
        image = [checkpoint(self.embed_images, part, use_reentrant=False) for part in split_images(images, self.micro_batch)]
        text = [checkpoint(self.embed_texts, part, use_reentrant=False) for part in split_texts(texts, self.micro_batch)]
        return self.head.loss(torch.cat(image), torch.cat(text))

    def embed_images(self, images: PackedImages) -> Tensor:
        """``[images, embed]``, unit vectors."""
        return self.head.embed_images(self.backbone(images).pooled)

    def embed_texts(self, texts: PackedTexts) -> Tensor:
        """``[texts, embed]``, unit vectors."""
        return self.head.embed_texts(self.text_encoder(texts))

    @torch.no_grad()
    def predict(
        self, images: PackedImages, texts: PackedTexts | None = None, caption_counts: Sequence[int] = (), **extra: Any
    ) -> list[dict]:
        """Per image: ``image [embed]``, ``tokens [patches, dim]``, ``shape`` (rows, columns) and the batch's further entries.

        With texts, also ``text [embed]``, ``length`` and ``truncated``; with ``caption_counts`` (several captions an image)
        ``texts [captions, embed]`` and ``lengths``.
        """
        output = self.backbone(images)
        found = [
            {"image": image, "tokens": tokens, "shape": shape, **{key: value[i] for key, value in extra.items()}}
            for i, (image, tokens, shape) in enumerate(
                zip(self.head.embed_images(output.pooled), output.tokens.split(list(images.seqlens)), images.shapes, strict=True)
            )
        ]
        if texts is None:
            return found
        vectors, counts = self.embed_texts(texts), list(caption_counts) or [1] * len(found)
        lengths = torch.tensor(texts.seqlens).split(counts)
        for sample, own, length in zip(found, vectors.split(counts), lengths, strict=True):
            sample |= {"texts": own, "lengths": length.tolist(), "text": own[0], "length": int(length[0])}
        return found

    def describe(self) -> list[str]:
        """What is trained here, for people."""
        stage, encoder = super().describe()
        return [f"{stage}, {type(self.head).__name__}", encoder, f"text encoder: {self.text_encoder.describe()}"]
