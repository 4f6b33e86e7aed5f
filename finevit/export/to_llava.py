"""A vision tower for language models in the manner of LLaVA: the Hugging Face folder, a tower around it, and the projector."""

from pathlib import Path

from finevit.connectors import MergeConnector
from finevit.export.exporter import REMOTE
from finevit.export.files import merge_code, save_json, save_weights
from finevit.export.source import LoadedCheckpoint
from finevit.export.to_hf import HuggingFaceExporter
from finevit.export.to_safetensors import metadata
from finevit.registry import EXPORTERS, MODELS


@EXPORTERS.register_module(name="llava")
class LlavaExporter(HuggingFaceExporter):
    """The files of ``to_hf``, ``llava_finevit.py`` and the projector's settings and weights."""

    stage = "III"
    library = "transformers"
    title = "language models in the manner of LLaVA"
    limits = (
        REMOTE,
        "The projector fits the language model of its Stage III alone; train a new one for another.",
    )
    usage = """
```python
import sys
sys.path.insert(0, FOLDER)
from llava_finevit import FineViTVisionTower, LlavaImages, load_projector

tower = FineViTVisionTower(FOLDER)
pixels = tower.image_processor.preprocess(image)["pixel_values"]  # squares; LlavaImages(FOLDER, native=True): native sizes
features = tower(pixels)  # [batch, patches, hidden_size]; a list of images of any sizes gives a list
projector = load_projector(FOLDER)  # of Stage III: 2 x 2 patches become one token
visual = projector(features, (pixels.shape[2] // tower.config.patch_size, pixels.shape[3] // tower.config.patch_size))
```

The folder is also one of Transformers: `AutoModel.from_pretrained(FOLDER, trust_remote_code=True)`.
"""

    def write(self, source: LoadedCheckpoint, folder: Path) -> None:
        connector, weights = source.cfg.model.connector, source.part("connector")
        wide = weights["second.weight"].shape[0] if "second.weight" in weights else 1
        model = MODELS.build({**connector, "dim": source.encoder["dim"], "llm_dim": wide})
        if not isinstance(model, MergeConnector):
            raise ValueError(
                f"model.connector.type={connector.get('type')!r} cannot be exported; --to llava knows MergeConnector alone"
            )
        source.check("connector", model)
        super().write(source, folder)
        merge_code(folder, "llava_finevit")
        sizes = {"dim": source.encoder["dim"], "llm_dim": wide}
        sizes |= {"mlp_dim": model.first.out_features, "frequencies": model.frequencies}
        save_json(folder / "projector.json", sizes)
        save_weights(folder / "projector.safetensors", weights, metadata(source))
