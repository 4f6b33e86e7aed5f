"""Features of a frozen encoder: every image is encoded once, at its native aspect, and what probes read is kept in memory."""

import logging
import sys
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from mmengine.config import Config
from mmengine.device import get_device
from mmengine.utils import ProgressBar
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from finevit.boxes import fault_of_box
from finevit.config.loading import config_of
from finevit.config.own_data import LOADERS
from finevit.config.refusals import refusals
from finevit.config.validation import check_config
from finevit.contracts import BadSample, ImageBudget, ImageEncoder, Region, Source
from finevit.datasets.decoding.images import decode
from finevit.datasets.transforms.image_transforms import Patchify, ResizeToBudget
from finevit.datasets.worker_board import at
from finevit.engine.hooks.loader_watch_hook import watched
from finevit.hub.origins import changes, say
from finevit.hub.weights import check_fit, read_checkpoint, under, weights_of
from finevit.ops.stateless_shuffle import shuffled
from finevit.packing.images import pack_images
from finevit.packing.packs import PackedImages
from finevit.precision import bfloat16_helps
from finevit.registry import MODELS

PIXELS = 224 * 224
"""Where the config has no validation set that says how large images are."""


class Encoder(NamedTuple):
    """A frozen backbone with what its images need: the preprocessor, the largest area and the side of a patch, in pixels."""

    backbone: ImageEncoder
    preprocessor: nn.Module
    pixels: int
    patch: int


class Checkpoint(NamedTuple):
    """Weights with the config that they were trained by, the ``iteration``, and the ``file`` that they are from."""

    cfg: Config
    weights: dict[str, torch.Tensor]
    iteration: int
    meta: dict[str, Any] = {}
    file: str = ""


def open_checkpoint(path: str, config: str | None, options: dict[str, Any]) -> Checkpoint:
    """A checkpoint with the config of a file or, without one, its own; ``ValueError`` where it cannot be read or has none."""
    content = read_checkpoint(path, setting="checkpoint", remedy="give one that finevit train wrote")
    meta = content.get("meta", {})
    cfg = config_of(path, meta, config, options)
    if not isinstance(cfg.get("model"), dict) or not cfg.model.get("backbone"):
        raise ValueError(f"{config or path}: its config has no model.backbone to probe; give that of a FineViT by --config FILE")
    if options and cfg.get("train_cfg"):  # a whole config: one for probes alone may lack what runs need
        check_config(cfg, unused=LOADERS)
    return Checkpoint(cfg, weights_of(content), meta.get("iter", 0), meta, path)


def load_encoder(checkpoint: Checkpoint, *, pixels: int | None = None, untrained: bool = False) -> Encoder:
    """The encoder of a checkpoint, with its weights or as it was before training; the same random weights every time.

    Images larger than ``pixels`` are reduced to that area; by default that of the config's validation set.
    """
    cfg = checkpoint.cfg
    torch.manual_seed((cfg.get("randomness") or {}).get("seed") or 0)
    with refusals(cfg.to_dict()):
        backbone = MODELS.build({**cfg.model.backbone, "_scope_": "finevit"})
        prepare = {"type": "finevit.PackedPreprocessor", **(cfg.model.get("data_preprocessor") or {})}
        preprocessor = MODELS.build(prepare)
    if pixels is not None and pixels < (2 * backbone.patch) ** 2:
        raise ValueError(f"--pixels {pixels}: give an area of at least {(2 * backbone.patch) ** 2} pixels, such as {PIXELS}")
    if not untrained:
        own, remedy = under(checkpoint.weights, "backbone."), "give the config that it was trained with by --config FILE"
        where = f"checkpoint={checkpoint.file!r}"
        check_fit(backbone.state_dict(), own, where=where, remedy=remedy, prefix="backbone.")
        backbone.load_state_dict(own)
        if other := changes(backbone, {"meta": checkpoint.meta}, "backbone"):  # of --config or --cfg-options
            say(f"the encoder does other than it was trained to: {', '.join(other)}; restore the setting", logging.WARNING)
    pixels = pixels or dataset_of(cfg).get("pixels", PIXELS)
    return Encoder(backbone.to(get_device()).eval(), preprocessor.to(get_device()).eval(), pixels, backbone.patch)


def dataset_of(cfg: Config) -> dict[str, Any]:
    """The validation set of a config; empty where it has none."""
    return (cfg.get("val_dataloader") or {}).get("dataset") or {}


BLOCKS = 4
"""The last so many blocks' mean patch tokens are kept, for the linear probe."""


class Image(NamedTuple):
    """What is kept of an image.

    ``row`` in its source, grid ``shape``, ``label`` (-1: none), ``label_map`` at its own size (-1: does not count), ``regions``
    with a class, ``tokens [patches, dim]`` (float16, where they are kept), ``means [blocks, dim]`` and ``pooled [dim]``.
    """

    row: int
    shape: tuple[int, int]
    label: int
    label_map: Tensor | None
    regions: tuple[Region, ...]
    tokens: Tensor
    means: Tensor
    pooled: Tensor


class ProbeImages(Dataset):
    """Some records of a source as the encoder sees them; a record that cannot be used becomes the message that says why.

    ``maps``: whether label maps are kept; ``background`` makes a class, the first, of what they say belongs to none.
    """

    def __init__(self, *, source: Source, rows: Sequence[int], pixels: int, patch: int, maps: bool, background: bool) -> None:
        self.source, self.rows, self.budget = source, rows, ImageBudget(pixels)
        self.maps, self.background = maps, background
        self.steps = (ResizeToBudget(snap=2 * patch), Patchify(patch=patch))

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> dict[str, Any]:
        at(self.rows[index])
        try:
            return self._sample(self.rows[index])
        except BadSample as error:
            return {"skipped": str(error)}
        finally:
            at()

    def _sample(self, row: int) -> dict[str, Any]:
        record = self.source[row]
        image = decode(record.image, name=record.id, target=self.budget.pixels) if isinstance(record.image, bytes) else record.image
        sample: dict[str, Any] = {"image": image, "label_map": None, "budget": self.budget}
        for step in self.steps:
            sample = step(sample)
        label_map = None if record.label_map is None or not self.maps else record.label_map + self.background
        label = record.facts.get("label", -1)
        regions = tuple(region for region in record.regions if region.class_id >= 0 and not fault_of_box(region.box))
        kept = {"row": row, "shape": sample["shape"], "label": label, "label_map": label_map, "regions": regions}
        return {"patches": sample["patches"], "kept": kept}


def rows_of(source: Source, most: int | None, *, seed: int) -> list[int]:
    """Which records are looked at: all, or ``most`` that the seed draws; sorted."""
    if most is None or most >= len(source):
        return list(range(len(source)))
    return sorted(shuffled(position, len(source), seed) for position in range(most))


def extract(
    encoder: Encoder, images: ProbeImages, *, batch: int, workers: int, title: str, keep: int | None = None
) -> tuple[list[Image], list[str]]:
    """The features of all usable images, in order, and what is wrong with the others; says how fast it goes and how much is kept.

    With ``keep``, patch tokens of the first so many images alone are kept, and vectors of all.
    """
    loader = DataLoader(images, batch_size=batch, num_workers=workers, collate_fn=_collate)
    found, skipped = list[Image](), list[str]()
    print(f"{title}: {len(images):,} images", file=sys.stderr, flush=True)
    bar = ProgressBar(len(images), file=sys.stderr)
    for packed, kept, messages in watched(loader, title):
        if packed is not None:
            new = enumerate(_encode(encoder, packed, kept), start=len(found))
            found += [image if keep is None or i < keep else image._replace(tokens=image.tokens[:0].clone()) for i, image in new]
        skipped += messages
        bar.update(len(kept) + len(messages))
    print(f"\n{title}: {size(found) / 1e6:,.1f} MB of features in memory", file=sys.stderr, flush=True)
    return found, skipped


def precision() -> str:
    """In which precision features are computed and kept on this machine."""
    return f"encoder in {'bfloat16' if bfloat16_helps() else 'float32'}, patch tokens kept in float16, vectors in float32"


def size(images: Sequence[Image]) -> int:
    """Bytes of what is kept."""
    return sum(value.nbytes for image in images for value in image if isinstance(value, Tensor))


@torch.inference_mode()
def _encode(encoder: Encoder, packed: PackedImages, kept: list[dict]) -> list[Image]:
    batch = encoder.preprocessor({"images": packed})["images"]
    layers = range(-min(BLOCKS, encoder.backbone.depth), 0)
    with torch.autocast(batch.pixels.device.type, dtype=torch.bfloat16, enabled=bfloat16_helps()):
        output = encoder.backbone(batch, layers=list(layers))
    lengths = list(batch.seqlens)
    means = torch.stack([torch.stack([part.float().mean(0) for part in layer.split(lengths)]) for layer in output.layers], dim=1)
    tokens, pooled = output.tokens.half().cpu().split(lengths), output.pooled.float().cpu()
    parts = zip(tokens, means.cpu(), pooled, kept, strict=True)
    return [Image(**sample, tokens=t.clone(), means=m.clone(), pooled=p.clone()) for t, m, p, sample in parts]


def _collate(samples: Sequence[dict]) -> tuple[PackedImages | None, list[dict], list[str]]:
    usable, skipped = [s for s in samples if "kept" in s], [s["skipped"] for s in samples if "skipped" in s]
    for sample in usable:
        if (label_map := sample["kept"]["label_map"]) is not None:
            sample["kept"]["label_map"] = torch.from_numpy(np.ascontiguousarray(label_map, np.int16))
    kept = [sample["kept"] for sample in usable]
    return pack_images([s["patches"] for s in usable], [s["shape"] for s in kept]) if usable else None, kept, skipped
