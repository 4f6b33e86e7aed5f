"""Any Hugging Face vision transformer as a teacher: DINOv3, DINOv2, ViT, CLIP, SigLIP (paper, Stage I)."""

import inspect
import json
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from .base import IMAGENET_MEAN, IMAGENET_STD, ViTTeacher
from .locate import locate


class HuggingFaceTeacher(ViTTeacher):
    """A Hugging Face ViT by hub name or local folder.

    ``layers`` are block numbers (0 is the first, -1 the last), averaged or joined by ``combine`` ('mean', 'concat'). ``norm`` sends
    each through the model's final norm. Blocks above the deepest one asked for are dropped. ``dtype`` is that of weights and
    arithmetic. Raises ``ValueError`` for a folder that does not exist, a hub name that cannot be reached, a model that is no ViT.
    """

    def __init__(
        self,
        *,
        model: str,
        layers: Sequence[int] = (-1,),
        combine: str = "mean",
        norm: bool = True,
        revision: str | None = None,
        dtype: str = "float32",
    ) -> None:
        super().__init__(layers=layers, combine=combine, norm=norm, dtype=dtype)
        self.model = model
        place = locate(model)
        self.vit = _load(model, place, revision)
        config = self.vit.config
        stack = _block_list(model, self.vit)
        self._choose(len(stack))
        del stack[max(self.layers) + 1 :]
        self._stack, self.patch = [stack], config.patch_size
        self._final = [_final_norm(model, self.vit) if norm else nn.Identity()]
        self.prefix = _has_class_token(self.vit) + getattr(config, "num_register_tokens", 0)
        interpolates = "interpolate_pos_encoding" in inspect.signature(self.vit.forward).parameters
        self._options = {"interpolate_pos_encoding": True} if interpolates else {}
        mean, std = _statistics(place, revision)
        self._finish(width=config.hidden_size, mean=mean, std=std)

    def blocks(self, pixels: Tensor) -> list[Tensor]:
        """See ``ViTTeacher``."""
        seen: dict[int, Tensor] = {}
        hooks = [self._stack[0][i].register_forward_hook(partial(_keep, seen, i)) for i in set(self.layers)]
        try:
            self.vit(pixel_values=pixels, **self._options)
        finally:
            for hook in hooks:
                hook.remove()
        return [self._final[0](seen[i])[:, self.prefix :] for i in self.layers]

    def describe(self) -> str:
        """One line for people: which model, from where, which layers."""
        return f"{type(self.vit).__name__} from {self.model}, layers {', '.join(map(str, self.layers))}"


def _keep(seen: dict[int, Tensor], index: int, _module: nn.Module, _args: Any, output: Any) -> None:
    seen[index] = output if isinstance(output, Tensor) else output[0]


def _load(model: str, place: str, revision: str | None) -> nn.Module:
    """Load the vision tower alone, also out of a checkpoint that holds a text tower beside it."""
    from transformers import MODEL_MAPPING, AutoConfig

    try:
        config = AutoConfig.from_pretrained(place, revision=revision)
        config = getattr(config, "vision_config", config)
        return MODEL_MAPPING[type(config)].from_pretrained(place, revision=revision)
    except OSError as error:
        remedy = "check the spelling, the connection and the access rights, or give the folder of a downloaded copy"
        raise ValueError(f"model={model!r}: could not be loaded from the hub or its cache; {remedy}") from error


def _block_list(model: str, vit: nn.Module) -> nn.ModuleList:
    depth = getattr(vit.config, "num_hidden_layers", None)
    lists = [each for each in vit.modules() if isinstance(each, nn.ModuleList) and len(each) == depth]
    if not lists:
        raise ValueError(f"model={model!r}: {type(vit).__name__} is not a plain vision transformer")
    return lists[0]


def _final_norm(model: str, vit: nn.Module) -> nn.Module:
    for name in ("layernorm", "norm", "post_layernorm"):
        if isinstance(found := getattr(vit, name, None), nn.Module):
            return found
    raise ValueError(f"model={model!r}: {type(vit).__name__} has no final norm; set norm=False")


def _has_class_token(vit: nn.Module) -> bool:
    return any(name.rsplit(".")[-1] in ("cls_token", "class_embedding") for name, _ in vit.named_parameters())


def _statistics(place: str, revision: str | None) -> tuple[Sequence[float], Sequence[float]]:
    """Mean and deviation out of ``preprocessor_config.json``, ImageNet's where there is none."""
    from transformers.utils import cached_file

    file = cached_file(place, "preprocessor_config.json", revision=revision, _raise_exceptions_for_missing_entries=False)
    found = json.loads(Path(file).read_text()) if file else {}
    return found.get("image_mean", IMAGENET_MEAN), found.get("image_std", IMAGENET_STD)
