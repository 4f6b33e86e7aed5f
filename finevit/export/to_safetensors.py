"""The encoder alone as one safetensors file, its settings in the file's metadata."""

import json
from pathlib import Path

from finevit.export.files import FORMAT, copy_code, save_weights
from finevit.export.source import Source


def write(source: Source, folder: Path) -> None:
    """``model.safetensors``: names as in ``finevit.backbones.FineViT``; and the module that reads them."""
    save_weights(folder / "model.safetensors", source.part("backbone"), metadata(source))
    copy_code(folder, "encoder_finevit")


def metadata(source: Source) -> dict[str, str]:
    """``finevit_format``, ``stage``, and as JSON ``config`` (the encoder's arguments) and ``image`` (how images are prepared)."""
    settings = {name: json.dumps(value) for name, value in (("config", source.encoder), ("image", source.image))}
    return {"finevit_format": FORMAT, "stage": source.stage or source.task, **settings}
