"""Any Hugging Face vision transformer as a teacher: DINOv3, DINOv2, ViT, CLIP, SigLIP (paper, Stage I)."""

import inspect
import json
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from finevit.hub.locate import find_model, first_line

from .base import IMAGENET_MEAN, IMAGENET_STD, Combine, Dtype, Layers, ViTTeacher


class HuggingFaceTeacher(ViTTeacher):
    """A Hugging Face ViT by hub name or local folder.

    ``layers`` are block numbers (0 is the first, -1 the last), averaged or joined by ``combine`` ('mean', 'concat');
    ``norm`` sends each through the model's final norm. Blocks above the deepest one asked for are dropped. ``dtype`` is
    that of weights and arithmetic (``auto``: bfloat16 where the hardware has it). Raises ``ValueError`` for a folder
    that does not exist, a hub name that cannot be reached, a model that is no ViT.
    """

    def __init__(
        self,
        *,
        model: str,
        layers: Layers = (-1,),
        combine: Combine = "mean",
        norm: bool = True,
        revision: str | None = None,
        dtype: Dtype = "float32",
    ) -> None:
        super().__init__(layers=layers, combine=combine, norm=norm, dtype=dtype)
        self.model, place = model, find_model(model)
        self.vit = _load(model, place, revision, _attention(self.dtype))
        self._stack = _block_list(model, self.vit)
        self._norm = _final_norm(model, self.vit) if norm else None
        stack: nn.ModuleList = self.vit.get_submodule(self._stack)
        self._choose(len(stack))
        del stack[max(self.layers) + 1 :]
        config = self.vit.config
        self.patch = config.patch_size
        self.prefix = _has_class_token(self.vit) + getattr(config, "num_register_tokens", 0)
        mean, std = _statistics(place, revision)
        self._finish(width=config.hidden_size, mean=mean, std=std)

    def blocks(self, pixels: Tensor) -> list[Tensor]:
        """See ``ViTTeacher``."""
        seen: dict[int, Tensor] = {}
        stack = self.vit.get_submodule(self._stack)
        hooks = [stack[i].register_forward_hook(partial(_keep, seen, i)) for i in set(self.layers)]
        try:
            self.vit(pixel_values=pixels, **_options(self.vit))
        finally:
            for hook in hooks:
                hook.remove()
        norm = self.vit.get_submodule(self._norm) if self._norm else nn.Identity()
        return [norm(seen[i])[:, self.prefix :] for i in self.layers]

    def describe(self) -> str:
        """One line for people: which model, from where, which layers."""
        return f"{type(self.vit).__name__} from {self.model}, {self.describe_layers()}"


def _keep(seen: dict[int, Tensor], index: int, _module: nn.Module, _args: Any, output: Any) -> None:
    seen[index] = output if isinstance(output, Tensor) else output[0]


def _options(vit: Any) -> dict[str, bool]:
    """Models with learned positions that interpolate only on demand must be asked to."""
    known = inspect.signature(vit.forward).parameters
    return {"interpolate_pos_encoding": True} if "interpolate_pos_encoding" in known else {}


def _attention(dtype: torch.dtype) -> str | None:
    """On a CPU plain matrix products are faster in bfloat16: a whole ViT-S by 1.2 at 256 patches, by 1.5 at 1024."""
    return "eager" if dtype == torch.bfloat16 and not torch.cuda.is_available() else None


def _load(model: str, place: str, revision: str | None, attention: str | None) -> Any:
    """Load the vision tower, also out of a checkpoint that holds a text tower beside it; refuse missing weights."""
    from transformers import MODEL_MAPPING, AutoConfig
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()  # of the few seconds that loading takes
    try:
        config = AutoConfig.from_pretrained(place, revision=revision, trust_remote_code=False)
        config = getattr(config, "vision_config", config)
        tower: Any = MODEL_MAPPING[type(config)]
        vit, report = tower.from_pretrained(place, revision=revision, attn_implementation=attention, output_loading_info=True)
    except Exception as error:  # damaged files raise nearly anything: KeyError, ValueError, RuntimeError, SafetensorError
        remedy = "check the spelling, the connection and the access rights, or give the folder of a downloaded copy"
        raise ValueError(f"model={model!r}: could not be loaded ({first_line(error)}); {remedy}") from error
    missing = [key for key in report["missing_keys"] if not key.startswith(("pooler.", "head."))]
    if missing:
        raise ValueError(f"model={model!r}: the checkpoint lacks {len(missing)} weights, for example {min(missing)!r}")
    return vit


def _block_list(model: str, vit: Any) -> str:
    """The name of the list of blocks inside a model that takes plain pixels."""
    depth = getattr(vit.config, "num_hidden_layers", None)
    lists = [name for name, part in vit.named_modules() if isinstance(part, nn.ModuleList) and len(part) == depth]
    known = inspect.signature(vit.forward).parameters
    sized = hasattr(vit.config, "hidden_size") and hasattr(vit.config, "patch_size")
    if not (lists and sized) or "pixel_values" not in known or "spatial_shapes" in known:
        raise ValueError(f"model={model!r}: {type(vit).__name__} is not a vision transformer that takes plain pixels")
    return lists[0]


def _final_norm(model: str, vit: Any) -> str:
    names = [name for name, _ in vit.named_children() if name in ("layernorm", "norm", "post_layernorm")]
    if not names:
        raise ValueError(f"model={model!r}: {type(vit).__name__} has no final norm; set norm=False")
    return names[0]


def _has_class_token(vit: Any) -> bool:
    return any(name.split(".")[-1] in ("cls_token", "class_embedding") for name, _ in vit.named_parameters())


def _statistics(place: str, revision: str | None) -> tuple[Sequence[float], Sequence[float]]:
    """Mean and deviation out of ``preprocessor_config.json``, ImageNet's where there is none."""
    from transformers.utils import cached_file

    file = cached_file(place, "preprocessor_config.json", revision=revision, _raise_exceptions_for_missing_entries=False)
    found = json.loads(Path(file).read_text()) if file else {}
    return found.get("image_mean", IMAGENET_MEAN), found.get("image_std", IMAGENET_STD)
