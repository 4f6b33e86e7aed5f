"""The peer: open_clip's own towers and SigLIP loss on the same scenes, captions and compact vocabulary, for the same minutes.

As open_clip is used: images squeezed to a fixed square, captions padded to a fixed length, AdamW with warm-up and cosine. The image
tower has the size of FineViT-tiny's blocks, the text tower that of ours. Where bfloat16 is faster, both use it (open_clip's
``--precision amp_bfloat16``). Progress is measured in seconds, data loading included.
"""

import argparse
import json
import math
import time
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import torch
from open_clip.loss import SigLipLoss
from open_clip.model import CLIP
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from finevit.evaluation.retrieval import ranks, recalls
from finevit.hub.tokenizers import load_tokenizer
from finevit.ops.stateless_shuffle import shuffled
from finevit.precision import bfloat16_helps
from finevit.scenes import Scenes

MEAN, STD = torch.tensor((0.485, 0.456, 0.406))[:, None, None], torch.tensor((0.229, 0.224, 0.225))[:, None, None]


class Pairs(Dataset):
    """Square images ``float [3, side, side]`` and padded token ids ``[context]``."""

    def __init__(self, source: Scenes, *, side: int, context: int, seed: int, shuffle: bool) -> None:
        self.source, self.side, self.context, self.seed, self.shuffle = source, side, context, seed, shuffle
        self.tokenizer = load_tokenizer("scenes")

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        record = self.source[shuffled(index, len(self), self.seed) if self.shuffle else index]
        square = cv2.resize(record.image, (self.side, self.side), interpolation=cv2.INTER_AREA)
        image = (torch.from_numpy(square).permute(2, 0, 1) / 255 - MEAN) / STD
        (ids,), _ = self.tokenizer([record.captions["long"]], self.context - 1)
        text = np.full(self.context, 0)
        text[: len(ids) + 1] = [*ids, self.tokenizer.size]  # an end token, whose id is the highest, as in CLIP
        return image, torch.from_numpy(text)


def build(side: int, context: int, vocab: int) -> nn.Module:
    """open_clip's model with towers of FineViT-tiny's size; its blocks have no gate, so their hidden width is 4.5 times ``dim``."""
    return CLIP(
        embed_dim=256,
        vision_cfg={"layers": 6, "width": 256, "head_width": 64, "mlp_ratio": 4.5, "patch_size": 14, "image_size": side},
        text_cfg={"context_length": context, "vocab_size": vocab, "width": 192, "heads": 3, "layers": 2, "mlp_ratio": 4.5},
        init_logit_scale=math.log(10),
        init_logit_bias=-10,
        output_dict=True,
    )


def optimiser(model: nn.Module, lr: float) -> torch.optim.Optimizer:
    """open_clip's: AdamW, no decay of vectors and scalars."""
    plain = [p for p in model.parameters() if p.ndim < 2]
    matrices = [p for p in model.parameters() if p.ndim >= 2]
    groups = [{"params": plain, "weight_decay": 0.0}, {"params": matrices, "weight_decay": 0.1}]
    return torch.optim.AdamW(groups, lr=lr, betas=(0.9, 0.98), eps=1e-6)


@torch.no_grad()
def evaluate(model: nn.Module, pairs: DataLoader) -> dict[str, float]:
    """Retrieval on the whole of a data set."""
    model.eval()
    with precision():
        parts = [(model.encode_image(images, normalize=True), model.encode_text(texts, normalize=True)) for images, texts in pairs]
    model.train()
    image, text = (torch.cat(tower).float() for tower in zip(*parts, strict=True))
    order = torch.arange(len(image))
    return recalls(ranks(image, text, order, order), ranks(text, image, order, order))


def precision() -> torch.autocast:
    """bfloat16 where the hardware has it."""
    return torch.autocast("cpu", torch.bfloat16, enabled=bfloat16_helps())


def batches(pairs: DataLoader) -> Iterator[list[Tensor]]:
    """Batches without end."""
    while True:
        yield from pairs


def train(arguments: argparse.Namespace) -> dict:
    """Train for the given minutes; the result, with its curve."""
    torch.manual_seed(arguments.seed)
    shape = {"side": arguments.side, "context": arguments.context, "seed": arguments.seed}
    seen = Pairs(Scenes(level=arguments.level, split="train"), shuffle=True, **shape)
    unseen = DataLoader(Pairs(Scenes(level=arguments.level, split="val", length=256), shuffle=False, **shape), batch_size=64)
    model = build(arguments.side, arguments.context, seen.tokenizer.size + 1)
    optimizer, loss_of = optimiser(model, arguments.lr), SigLipLoss()
    loader = batches(DataLoader(seen, batch_size=arguments.batch, num_workers=1, drop_last=True))
    start, paused, step, curve = time.monotonic(), 0.0, 0, []
    while (share := (time.monotonic() - start - paused) / (60 * arguments.minutes)) < 1:
        for group in optimizer.param_groups:
            group["lr"] = arguments.lr * min(1, share / 0.03) * (1 + math.cos(math.pi * share)) / 2
        images, texts = next(loader)
        with precision():
            loss = loss_of(**model(images, texts))
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        step += 1
        if share > (len(curve) + 1) / 5:
            before = time.monotonic()
            curve.append({"minutes": share * arguments.minutes, **evaluate(model, unseen)})
            paused += time.monotonic() - before
            print(f"{curve[-1]['minutes']:5.1f} min, step {step}: loss {loss.item():.3f}, R@1 {curve[-1]['r1']:.3f}", flush=True)
    seconds = time.monotonic() - start - paused
    final = evaluate(model, unseen)
    print(
        f"{arguments.minutes:5.1f} min, step {step}: R@1 {final['r1']:.3f}, {step * arguments.batch / seconds:.1f} images/s",
        flush=True,
    )
    return {**final, "steps": step, "images": step * arguments.batch, "minutes": seconds / 60, "curve": curve}


def main() -> None:
    """Train and write the result."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=15)
    parser.add_argument("--level", default="easy")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--side", type=int, default=112, help="side of the square images in pixels")
    parser.add_argument("--context", type=int, default=160, help="tokens of a padded caption")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--lr", type=float, default=1e-3)
    parser.add_argument("--out", type=Path, required=True, help="where the result is written, as JSON")
    arguments = parser.parse_args()
    arguments.out.write_text(json.dumps(train(arguments), indent=2))


if __name__ == "__main__":
    main()
