"""A folder for timm: one module that registers the sizes, and config and weights as ``local-dir:FOLDER`` reads them."""

import math
from pathlib import Path

from finevit.export.files import merge_code, save_json, save_weights
from finevit.export.source import Source
from finevit.export.to_safetensors import metadata


def write(source: Source, folder: Path) -> None:
    """``timm_finevit.py``, ``config.json`` and ``model.safetensors``."""
    merge_code(folder, "timm_finevit")
    save_weights(folder / "model.safetensors", source.part("backbone"), metadata(source))
    side = math.isqrt(source.image["pixels"]) // source.image["snap"] * source.image["snap"] or source.image["snap"]
    data = {"input_size": [3, side, side], "fixed_input_size": False, "interpolation": "bicubic", "crop_pct": 1.0}
    head = {"num_classes": 0, "first_conv": "embed", "classifier": "head"}
    save_json(
        folder / "config.json",
        {
            "architecture": f"finevit_{source.arch}",
            "num_classes": 0,
            "num_features": source.encoder["dim"],
            "pretrained_cfg": {**head, **data, "mean": source.image["mean"], "std": source.image["std"]},
            "model_args": source.encoder,
        },
    )
