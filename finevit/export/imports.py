"""Weights of other vision encoders as a checkpoint of ours: exact, or (asked for) what fits of them."""

import json
from pathlib import Path
from typing import IO, Any

import torch
from safetensors.torch import save as as_safetensors

from finevit.backbones import FineViT
from finevit.export.foreign import Foreign, read_tower
from finevit.hub.locate import find_model, first_line
from finevit.storage.durable import write_file
from finevit.storage.places import writing

INSIDE = ("vision_model", "visual", "vision_tower")
"""Where larger models keep their vision tower."""
SHOWN = 8
"""So many differences are listed."""


def load_tower(model: str) -> Any:
    """The vision tower of a Hugging Face model, by hub name or folder."""
    from transformers import AutoModel

    place = find_model(model)
    try:
        whole = AutoModel.from_pretrained(place, dtype=torch.float32, trust_remote_code=False)
    except Exception as error:  # damaged files raise nearly anything
        remedy = "check the spelling, the connection and the access rights, or give the folder of a downloaded copy"
        raise ValueError(f"model={model!r}: could not be loaded ({first_line(error)}); {remedy}") from error
    return next(
        (getattr(whole, name) for name in INSIDE if hasattr(whole, name) and hasattr(getattr(whole, name), "config")), whole
    )


def import_tower(tower: Any, *, partial: bool = False) -> tuple[FineViT, Foreign]:
    """Our encoder with the tower's weights; ``ValueError`` says what differs, unless ``partial`` takes what fits."""
    found = read_tower(tower)
    if found.differences and not partial:
        more = len(found.differences) - SHOWN
        listed = [*found.differences[:SHOWN], *([f"and {more} more"] if more > 0 else [])]
        raise ValueError(
            f"model_type={tower.config.model_type!r}: FineViT cannot give this encoder's outputs:\n  "
            + "\n  ".join(listed)
            + "\nto begin training from the weights that fit, add --partial"
        )
    encoder = FineViT(**found.settings)
    unknown = encoder.load_state_dict(found.weights, strict=False).unexpected_keys
    assert not unknown, unknown
    return encoder.eval(), found


def save(encoder: FineViT, found: Foreign, path: str | Path, source: str) -> None:
    """A checkpoint for ``load_from``, with the settings of its backbone in ``meta``; safetensors where ``path`` says so."""
    weights = {f"backbone.{name}": value for name, value in encoder.state_dict().items()}
    meta = {"imported_from": source, "backbone": {"type": "FineViT", **found.settings}, "differences": found.differences}
    told = {name: value if isinstance(value, str) else json.dumps(value) for name, value in meta.items()}

    def put(file: IO[bytes]) -> None:
        if Path(path).suffix == ".safetensors":
            file.write(as_safetensors(weights, {"format": "pt", **told}))
        else:
            torch.save({"meta": meta, "state_dict": weights}, file)

    with writing(f"--out {str(path)!r}"):
        write_file(path, put, digest=True)


def report(encoder: FineViT, found: Foreign) -> list[str]:
    """What was taken over and what was not, for people."""
    new = [name for name in encoder.state_dict() if name not in found.weights]
    settings = ", ".join(f"{name}={value!r}" for name, value in found.settings.items())
    said = [f"set model.backbone=dict(type='FineViT', {settings}), and image mean and standard deviation as the source has them"]
    for what, names in (("differs", found.differences), ("begins new", new), ("left out", found.left_out)):
        said += [f"{what}: {name}" for name in names]
    return said
