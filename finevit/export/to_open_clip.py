"""Both towers of a Stage II, with tokenizer and preprocessing, as users of open_clip and CLIP_benchmark expect them."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from finevit.export.exporter import Exporter
from finevit.export.files import merge_code, save_json, save_weights
from finevit.export.source import LoadedCheckpoint
from finevit.export.to_safetensors import metadata
from finevit.heads import SigmoidHead
from finevit.hub.tokenizers import PLAIN, load_backend, load_tokenizer
from finevit.registry import EXPORTERS, MODELS
from finevit.text_encoders import HuggingFaceText, TextTransformer


@EXPORTERS.register_module(name="open_clip")
class OpenClipExporter(Exporter):
    """``open_clip_finevit.py`` with its settings, weights, and the tokenizer's files."""

    stage = "II"
    library = "open_clip"
    title = "users of open_clip and CLIP_benchmark"
    pipeline = "zero-shot-image-classification"
    limits = (
        "open_clip.create_model does not know this architecture: load it with the file beside the weights.",
        "The results were measured at native aspect ratios, not on the squares that preprocess makes by default.",
    )
    usage = """
```python
import sys
sys.path.insert(0, FOLDER)
from open_clip_finevit import load  # needs torch, safetensors and transformers (for the tokenizer)

model, preprocess, tokenizer = load(FOLDER)
image = model.encode_image(preprocess(picture)[None], normalize=True)
text = model.encode_text(tokenizer(["a red circle", "two cats"]), normalize=True)
logits = model.logit_scale.exp() * image @ text.T
```

`preprocess` makes squares, which loaders can put into batches; `load(FOLDER, native=True)` keeps the aspect ratio, as in training,
and `encode_image` then takes a list. `logit_bias` is a number, or None for a softmax loss.
"""

    def write(self, source: LoadedCheckpoint, folder: Path) -> None:
        text, head = _parts(source)
        settings = _tokenizer(text, folder)
        context = (source.cfg.get("val_dataloader") or {}).get("dataset", {}).get("max_seq_len") or text.context
        settings["context_length"] = min(context, text.context)
        model = {
            "encoder": source.encoder,
            "image": source.image,
            "text": _transformer(text, settings["pad"]) if isinstance(text, TextTransformer) else _tower(text, folder, settings),
            "embed_dim": head.embed_dim,
            "sigmoid": isinstance(head, SigmoidHead),
        }
        save_json(folder / "open_clip_finevit.json", {"model": model, "tokenizer": settings})
        save_weights(folder / "model.safetensors", _weights(source), metadata(source))
        merge_code(folder, "open_clip_finevit")


def _parts(source: LoadedCheckpoint) -> tuple[Any, Any]:
    """Text tower and head of the config, without memory for weights; their keys are checked."""
    model = source.cfg.model
    given = {"pretrained": False} if str(model.text_encoder.type).endswith("HuggingFaceText") else {}
    with torch.device("meta"):
        text = MODELS.build({**model.text_encoder, **given, "type": model.text_encoder.type})
        head = MODELS.build({**model.head, "image_dim": source.encoder["dim"], "text_dim": text.dim})
    if not isinstance(text, TextTransformer | HuggingFaceText):
        raise ValueError(
            f"model.text_encoder.type={model.text_encoder.type!r} cannot be exported; --to open_clip knows FineViT's own"
        )
    source.check("text_encoder", text)
    source.check("head", head)
    return text, head


def _weights(source: LoadedCheckpoint) -> dict[str, Tensor]:
    """All of them by the names of ``FineViTCLIP``."""
    head = source.part("head")
    weights = {f"visual.encoder.{name}": value for name, value in source.part("backbone").items()}
    weights |= {f"text.{name}": value for name, value in source.part("text_encoder").items()}
    weights |= {"visual.projection.weight": head["image.weight"], "text_projection.weight": head["text.weight"]}
    weights |= {"logit_scale": head["logit_scale"][0].clone()}
    return weights | ({"logit_bias": head["logit_bias"][0].clone()} if "logit_bias" in head else {})


def _transformer(text: TextTransformer, pad: int) -> dict[str, Any]:
    """The arguments of ``TextTower``."""
    shapes = {name: value.shape for name, value in text.state_dict().items()}
    sizes = {"vocab": text.vocab, "depth": len(text.blocks), "dim": text.dim, "heads": text.dim // text.head_dim}
    pool = "attention" if "pool.query" in shapes else "mean"
    mlp_dim = shapes["blocks.0.feed_forward.down.weight"][1]
    return {**sizes, "mlp_dim": mlp_dim, "pool": pool, "rope_theta": float(text.rope_theta), "pad": pad}


def _tower(text: HuggingFaceText, folder: Path, settings: dict[str, Any]) -> dict[str, Any]:
    """The arguments of ``TransformersTower``; writes the tower's config."""
    config = text.tower.config
    config.save_pretrained(folder / "text")
    kinds = {"tower_class": type(text.tower).__name__, "config_class": type(config).__name__}
    sizes = {"dim": text.dim, "pooled": text.pooled, "padded": text.padded}
    return {**kinds, **sizes, "pad": settings["pad"], "left": settings["left"]}


def _tokenizer(text: TextTransformer | HuggingFaceText, folder: Path) -> dict[str, Any]:
    """The arguments of ``Tokenizer``; writes its files. What fills up a batch is no token that a text can hold."""
    backend, ours = load_backend(text.tokenizer), load_tokenizer(text.tokenizer)
    backend.save_pretrained(folder / "tokenizer")
    own = backend.pad_token_id not in (None, backend.eos_token_id, backend.unk_token_id)
    pad = ours.pad_id if own or getattr(text, "padded", False) else -1
    left = ours.pad_left and isinstance(text, HuggingFaceText)
    return {"pad": pad, "left": left, "plain": ours.kind in PLAIN, "lower": ours.lower}
