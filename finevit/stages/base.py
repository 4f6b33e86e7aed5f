"""What the stages share: parts built from config and held to their contracts, freezing, layer depths, a description."""

from collections.abc import Mapping, Sequence
from inspect import get_annotations
from typing import Any, ClassVar

from mmengine.model import BaseModel
from torch import nn

from finevit.contracts import ImageEncoder, TextEncoder
from finevit.registry import MODELS


class Stage(BaseModel):
    """A training stage of the paper around the image encoder that it trains.

    Args:
        backbone: config of the encoder.
        data_preprocessor: config of the preprocessor.
    """

    title: ClassVar[str]
    """Number and name, for people."""
    switches: ClassVar[Mapping[str, str]] = {}
    """Parts that may be frozen, with the attribute that says so, which a schedule may set."""

    def __init__(self, *, backbone: dict, data_preprocessor: dict | None = None, init_cfg: dict | None = None) -> None:
        super().__init__(data_preprocessor or {"type": "finevit.PackedPreprocessor"}, init_cfg)
        self.backbone = build_part("backbone", backbone, ImageEncoder, "image encoder")
        self._trainable: dict[str, set[nn.Parameter]] = {}

    def describe(self) -> list[str]:
        """What is trained here, for people; a stage adds a line for each of its own parts."""
        parameters = short_count(sum(parameter.numel() for parameter in self.backbone.parameters()))
        size = f"{self.backbone.depth} blocks of width {self.backbone.dim}, {parameters} parameters"
        return [f"stage: {self.title}", f"encoder: {type(self.backbone).__name__}, {size}"]

    def get_layer_depth(self, param_name: str, prefix: str = "") -> tuple[int, int]:
        """Layer-wise learning-rate decay: the encoder's own layers; everything else of the stage counts as the last."""
        name = param_name.removeprefix(prefix)
        if name.startswith("backbone."):
            return self.backbone.get_layer_depth(name, "backbone.")
        return self.backbone.depth + 1, self.backbone.depth + 2

    def freeze(self) -> None:
        """Called before each step: a frozen part needs no gradient, a frozen tower does as in evaluation; what a part froze of
        itself stays so. ``ValueError`` where nothing is left to learn.
        """
        if not self._trainable:
            parts = {name: self.get_submodule(name) for name in self.switches}
            self._trainable = {name: {p for p in part.parameters() if p.requires_grad} for name, part in parts.items()}
        for name, switch in self.switches.items():
            frozen, part = getattr(self, switch), self.get_submodule(name)
            for parameter in self._trainable[name]:
                parameter.requires_grad_(not frozen)
            if isinstance(part, ImageEncoder | TextEncoder):
                part.train(self.training and not frozen)
        if not any(parameter.requires_grad for parameter in self.parameters()):
            frozen = ", ".join(f"{switch}={getattr(self, switch)}" for switch in self.switches.values())
            raise ValueError(f"model: {frozen}, and what is not so has nothing to train: nothing is left to learn; thaw a part")


def build_part(setting: str, config: dict, contract: type[nn.Module], kind: str, *, calls: Sequence[str] = ()) -> Any:
    """What the config of ``model.SETTING`` names; ``ValueError`` where it is not of the contract, or lacks an attribute of it.

    ``calls`` are methods that this stage calls besides those of the contract.
    """
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
    if uncallable := ", ".join(method for method in calls if not callable(getattr(part, method, None))):
        told = f"model.{setting}.type={config['type']!r} has no method {uncallable}, which this stage calls"
        raise ValueError(f"{told}; define it in {name} (docs/extending.md, {asked})")
    return part


def short_count(count: int) -> str:
    """A number of parameters as people write it: 860,123,456 -> 0.86 B."""
    return f"{count / 1e9:.2f} B" if count >= 1e8 else f"{count / 1e6:.2f} M"
