"""A folder for timm: one module that registers the sizes, and config and weights as ``local-dir:FOLDER`` reads them."""

import math
from pathlib import Path

from finevit.export.exporter import Exporter
from finevit.export.files import merge_code, save_json, save_weights
from finevit.export.source import LoadedCheckpoint
from finevit.export.to_safetensors import metadata
from finevit.registry import EXPORTERS


@EXPORTERS.register_module(name="timm")
class TimmExporter(Exporter):
    """``timm_finevit.py``, ``config.json`` and ``model.safetensors``."""

    library = "timm"
    title = "timm"
    tags = ("timm",)
    limits = ("timm's transforms resize and crop to one size; training kept the aspect ratio.",)
    usage = """
```python
import sys, timm
sys.path.insert(0, FOLDER)
import timm_finevit  # registers the models

model = timm.create_model("local-dir:" + FOLDER, pretrained=True).eval()
maps = timm.create_model("local-dir:" + FOLDER, pretrained=True, features_only=True, out_indices=(1, -1))
tuned = timm.create_model("local-dir:" + FOLDER, pretrained=True, num_classes=10)
```

Sides of images are multiples of the patch, else of any size. The weights are also read by
`timm.create_model("finevit_{arch}", checkpoint_path="model.safetensors", ...)` with the `model_args` of config.json.
"""

    def write(self, source: LoadedCheckpoint, folder: Path) -> None:
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
