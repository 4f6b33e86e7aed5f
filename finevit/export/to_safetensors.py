"""The encoder alone as one safetensors file, its settings in the file's metadata."""

import json
from pathlib import Path

from finevit.export.exporter import Exporter
from finevit.export.files import FORMAT, copy_code, save_weights
from finevit.export.source import LoadedCheckpoint
from finevit.registry import EXPORTERS


@EXPORTERS.register_module(name="safetensors")
class SafetensorsExporter(Exporter):
    """``model.safetensors``: names as in ``finevit.backbones.FineViT``; and the module that reads them."""

    library = "safetensors"
    title = "PyTorch"
    usage = """
```python
import json
from safetensors import safe_open
from encoder_finevit import Encoder  # the file beside the weights; needs torch alone

with safe_open("model.safetensors", "pt") as file:
    encoder = Encoder(**json.loads(file.metadata()["config"])).eval()
    encoder.load_state_dict({{key: file.get_tensor(key) for key in file.keys()}})
tokens, pooled, states = encoder.encode(pixels)  # normalised [batch, 3, height, width]
```
"""

    def write(self, source: LoadedCheckpoint, folder: Path) -> None:
        save_weights(folder / "model.safetensors", source.part("backbone"), metadata(source))
        copy_code(folder, "encoder_finevit")


def metadata(source: LoadedCheckpoint) -> dict[str, str]:
    """``finevit_format``, ``stage``, and as JSON ``config`` (the encoder's arguments) and ``image`` (how images are prepared)."""
    settings = {name: json.dumps(value) for name, value in (("config", source.encoder), ("image", source.image))}
    return {"finevit_format": FORMAT, "stage": source.stage or source.task, **settings}
