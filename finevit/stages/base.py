"""What the stages share: parts built from config and held to their contracts, and what a stage says of itself."""

from inspect import get_annotations
from typing import Any

from torch import nn

from finevit.contracts import ImageEncoder
from finevit.registry import MODELS


def build_part(setting: str, config: dict, contract: type[nn.Module], kind: str) -> Any:
    """What the config of ``model.SETTING`` names; ``ValueError`` where it is not of the contract, or lacks an attribute of it."""
    part = MODELS.build(config)
    name, asked = type(part).__name__, f"finevit.contracts.{contract.__name__}"
    lacking = ", ".join(attribute for attribute in get_annotations(contract) if not hasattr(part, attribute))
    if not isinstance(part, contract):
        lacking = f", and has no {lacking}" if lacking else ""
        remedy = "derive it from that, or wrap it in a class that does (docs/plugins.md); finevit plugins lists those there are"
        raise ValueError(
            f"model.{setting}.type={config['type']!r} is no {kind}: {name} does not derive from {asked}{lacking}; {remedy}"
        )
    if lacking:
        raise ValueError(
            f"model.{setting}.type={config['type']!r} lacks {lacking}, which {asked} asks for; set it in {name}.__init__"
        )
    return part


def readable(count: int) -> str:
    """A number of parameters as people write it: 860,123,456 -> 0.86 B."""
    return f"{count / 1e9:.2f} B" if count >= 1e8 else f"{count / 1e6:.2f} M"


def told(encoder: ImageEncoder) -> str:
    """The line about the image encoder."""
    parameters = readable(sum(parameter.numel() for parameter in encoder.parameters()))
    return f"encoder: {type(encoder).__name__}, {encoder.depth} blocks of width {encoder.dim}, {parameters} parameters"
