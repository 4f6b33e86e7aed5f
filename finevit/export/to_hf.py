"""A Hugging Face folder with its own code: no class of Transformers has this structure (docs/export.md)."""

from pathlib import Path
from typing import Any, ClassVar

from finevit.export.exporter import REMOTE, Exporter
from finevit.export.files import copy_code, save_json, save_weights
from finevit.export.source import LoadedCheckpoint, classifier_of
from finevit.export.to_safetensors import metadata
from finevit.registry import EXPORTERS

CLASSIFIER = "FineViTForImageClassification"
CLASSES = (
    ("AutoConfig", "configuration", "Config"),
    ("AutoModel", "modeling", "Model"),
    ("AutoBackbone", "modeling", "Backbone"),
    ("AutoModelForImageClassification", "modeling", "ForImageClassification"),
)
PIPELINES = (
    ("image-feature-extraction", "FineViTFeatures", "AutoModel"),
    ("image-classification", "FineViTClasses", "AutoModelForImageClassification"),
)


@EXPORTERS.register_module(name="hf")
class HuggingFaceExporter(Exporter):
    """Config, weights, image processor, and the modules that ``auto_map`` names."""

    library = "transformers"
    title = "Hugging Face Transformers"
    limits: ClassVar[tuple[str, ...]] = (REMOTE,)
    usage = """
```python
from transformers import AutoImageProcessor, AutoModel

model = AutoModel.from_pretrained(FOLDER, trust_remote_code=True).eval()
processor = AutoImageProcessor.from_pretrained(FOLDER, trust_remote_code=True)
output = model(**processor(images))  # last_hidden_state, pooler_output
```

Images of one size become a batch, others are packed as patches with their grids; the model reads both.
"""

    def write(self, source: LoadedCheckpoint, folder: Path) -> None:
        head, classifier = classifier_of(source)
        save_json(folder / "config.json", _config(source.encoder) | ({**head, "architectures": [CLASSIFIER]} if head else {}))
        save_json(folder / "preprocessor_config.json", _processor(source.image, source.encoder["patch"]))
        prefix = "finevit.encoder" if head else "encoder"
        weights = {f"{prefix}.{name}": value for name, value in source.part("backbone").items()}
        save_weights(folder / "model.safetensors", weights | classifier, metadata(source))
        copy_code(folder, "encoder_finevit", "configuration_finevit", "modeling_finevit", "pipelines_finevit")
        copy_code(folder, "image_processing_finevit", "pixels_finevit")


def _config(encoder: dict[str, Any]) -> dict[str, Any]:
    return {
        "architectures": ["FineViTModel"],
        "auto_map": {name: f"{module}_finevit.FineViT{suffix}" for name, module, suffix in CLASSES},
        "custom_pipelines": {task: {"impl": f"modeling_finevit.{name}", "pt": [auto]} for task, name, auto in PIPELINES},
        "model_type": "finevit",
        "num_hidden_layers": encoder["depth"],
        "hidden_size": encoder["dim"],
        "num_attention_heads": encoder["heads"],
        "intermediate_size": encoder["mlp_dim"],
        "patch_size": encoder["patch"],
        "pool": encoder["pool"],
        "rope_base": encoder["rope_theta"],
        "dtype": "float32",
    }


def _processor(image: dict[str, Any], patch: int) -> dict[str, Any]:
    return {
        "auto_map": {"AutoImageProcessor": "image_processing_finevit.FineViTImageProcessor"},
        "image_processor_type": "FineViTImageProcessor",
        "image_mean": image["mean"],
        "image_std": image["std"],
        "pixels": image["pixels"],
        "snap": image["snap"],
        "patch_size": patch,
        **{key: image[key] for key in ("size", "crop_size") if key in image},
    }
