"""Stage I: the encoder predicts a frozen teacher's features of masked patches (paper, Stage I)."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from finevit.contracts import EncoderOutput, Head, Teacher
from finevit.ops.distillation import random_mask
from finevit.ops.patches import unpatchify
from finevit.packing.images import check_whole, keep_patches, repeat_images
from finevit.packing.packs import PackedImages
from finevit.registry import MODELS
from finevit.signatures import Fraction
from finevit.stages.base import Stage, build_part


def shares(mask_ratio: float | Sequence[float]) -> list[float]:
    """One ratio per copy of the batch."""
    return [mask_ratio] if isinstance(mask_ratio, int | float) else list(mask_ratio)


@MODELS.register_module()
class MaskedDistillation(Stage):
    """Masked feature distillation.

    Args:
        backbone: config of the encoder.
        teacher: config of a :class:`~finevit.contracts.Teacher`; frozen, without gradients, never in a checkpoint.
        head: config of the head; ``dim`` and ``target_dim`` come from the encoder and the teacher.
        mask_ratio: share of an image's patches that are masked; a sequence gives one copy of the batch per ratio, all of which
            share the teacher's one forward pass.
        drop_masked: leave masked patches out instead of replacing them by a token: a step costs less, and what is learned is the
            teacher's features of visible patches, so the head must weigh those.
        data_preprocessor: config of the preprocessor.
    """

    title = "I, masked feature distillation"
    teacher: Teacher

    def __init__(
        self,
        *,
        backbone: dict,
        teacher: dict,
        head: dict,
        mask_ratio: Fraction | Sequence[Fraction] = 0.75,
        drop_masked: bool = False,
        data_preprocessor: dict | None = None,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(backbone=backbone, data_preprocessor=data_preprocessor, init_cfg=init_cfg)
        self.__dict__["teacher"] = build_part("teacher", teacher, Teacher, "teacher").eval().requires_grad_(False)
        widths = {"dim": self.backbone.dim, "target_dim": self.teacher.dim}
        self.head = build_part("head", {**head, **widths}, Head, "head", calls=("features", "observed"))
        self.mask_token = nn.Parameter(0.5 * torch.randn(self.backbone.dim))  # about the size of a patch's embedding
        self.mask_ratio, self.drop_masked = mask_ratio, drop_masked
        if drop_masked and not getattr(self.head, "visible_weight", 0):
            raise ValueError("model.drop_masked=True leaves the head nothing to learn from; set model.head.visible_weight=1")

    def forward(self, images: PackedImages, mode: str = "tensor", **extra: Any) -> dict[str, Tensor] | EncoderOutput | list:
        """``loss``: the losses; ``tensor``: the encoder's output; ``predict``: see :meth:`predict`."""
        if mode == "loss":
            return self.loss(images)
        return self.predict(images, **extra) if mode == "predict" else self.backbone(images)

    def loss(self, images: PackedImages) -> dict[str, Tensor]:
        """Losses of one batch; masks come from torch's CPU generator, which the training loop seeds at every step."""
        ratios = shares(self.mask_ratio)
        target, views = self.targets(images).repeat(len(ratios), 1), repeat_images(images, len(ratios))
        mask = torch.cat([random_mask(images.seqlens, ratio) for ratio in ratios])
        if self.drop_masked:
            views, kept = keep_patches(views, ~mask)
            return self.head.loss(self.backbone(views).tokens, target[kept], None)
        mask = mask.to(target.device, non_blocking=True)
        return self.head.loss(self.backbone(views, replace=(mask, self.mask_token)).tokens, target, mask)

    @torch.no_grad()
    def predict(self, images: PackedImages, labels: Tensor | None = None, **extra: Any) -> list[dict]:
        """Per image: ``target`` and ``prediction`` ``[patches, features]``, ``mask``, ``tokens`` of the whole image, ``labels``."""
        ratio = max(shares(self.mask_ratio))
        generator = torch.Generator().manual_seed(sum(images.seqlens))
        mask = random_mask(images.seqlens, ratio, generator).to(images.pixels.device)
        values = {
            "target": self.head.observed(self.targets(images)),
            "prediction": self.head.features(self.backbone(images, replace=(mask, self.mask_token)).tokens),
            "tokens": self.backbone(images).tokens,
            "mask": mask,
        }
        if labels is not None:
            values["labels"] = labels
        parts = {name: value.split(list(images.seqlens)) for name, value in values.items()}
        return [
            {
                **{name: part[i] for name, part in parts.items()},
                "shape": shape,
                **{key: value[i] for key, value in extra.items()},
            }
            for i, shape in enumerate(images.shapes)
        ]

    @torch.no_grad()
    def targets(self, images: PackedImages) -> Tensor:
        """The teacher's features ``[patches, features]`` on the student's grid: images are resized where the patch sizes differ."""
        check_whole(images)
        features: list[Tensor] = [torch.empty(0)] * len(images.shapes)
        pixels = self.data_preprocessor.unnormalise(images.pixels).split(list(images.seqlens))
        for shape in dict.fromkeys(images.shapes):
            same = [i for i, other in enumerate(images.shapes) if other == shape]
            batch = torch.stack([unpatchify(pixels[i], shape, self.backbone.patch) for i in same])
            if self.teacher.patch != self.backbone.patch:
                size = (shape[0] * self.teacher.patch, shape[1] * self.teacher.patch)
                batch = interpolate(batch, size=size, mode="bicubic", antialias=True).clamp(0, 1)
            for i, feature in zip(same, self.teacher.features(batch), strict=True):
                features[i] = feature
        return torch.cat(features)

    def describe(self) -> list[str]:
        """What is trained here, for people."""
        return [*super().describe(), f"teacher: {self.teacher.describe()}"]

    def _apply(self, fn: Callable, recurse: bool = True) -> nn.Module:
        """The teacher moves with the model although it is no submodule (and so neither trained, wrapped nor saved)."""
        self.teacher._apply(fn)
        return super()._apply(fn, recurse)
