"""Any timm vision transformer as a teacher, by name, hub name or local folder (paper, Stage I)."""

from pathlib import Path
from typing import Any

from torch import Tensor

from finevit.hub.locate import local_folder
from finevit.suggest import did_you_mean

from .base import IMAGENET_MEAN, IMAGENET_STD, Combine, Dtype, Layers, ViTTeacher


class TimmTeacher(ViTTeacher):
    """A timm ViT: ``model`` is timm's name, ``owner/name`` on the hub, or a folder that timm saved.

    Weights come from ``checkpoint`` (a file) where given, else from timm or the folder (``pretrained``), else they are
    random. ``layers``, ``combine``, ``norm`` and ``dtype`` are those of ``HuggingFaceTeacher``. Raises ``ValueError``
    for names that do not exist or weights that cannot be reached.
    """

    def __init__(
        self,
        *,
        model: str,
        checkpoint: str | None = None,
        pretrained: bool = True,
        layers: Layers = (-1,),
        combine: Combine = "mean",
        norm: bool = True,
        dtype: Dtype = "float32",
    ) -> None:
        super().__init__(layers=layers, combine=combine, norm=norm, dtype=dtype)
        if checkpoint is not None and not Path(checkpoint).is_file():
            raise ValueError(f"checkpoint={checkpoint!r}: this file does not exist")
        self.model = model
        self.weights = checkpoint or ("pretrained" if pretrained else "random weights")
        self.vit = _create(model, checkpoint, pretrained and checkpoint is None)
        self._choose(len(self.vit.blocks))
        del self.vit.blocks[max(self.layers) + 1 :]
        self.patch = self.vit.patch_embed.patch_size[0]
        given = self.vit.pretrained_cfg
        mean, std = given.get("mean", IMAGENET_MEAN), given.get("std", IMAGENET_STD)
        self._finish(width=self.vit.embed_dim, mean=mean, std=std)

    def blocks(self, pixels: Tensor) -> list[Tensor]:
        """See ``ViTTeacher``."""
        wanted = sorted(set(self.layers))
        tokens = self.vit.forward_intermediates(pixels, indices=wanted, norm=self.norm, output_fmt="NLC", intermediates_only=True)
        found = dict(zip(wanted, tokens, strict=True))
        return [found[i] for i in self.layers]

    def describe(self) -> str:
        """One line for people: which model, from where, which layers."""
        return f"timm {self.model} ({self.weights}), {self.describe_layers()}"


def _create(model: str, checkpoint: str | None, pretrained: bool) -> Any:
    folder = local_folder(model)
    import timm

    if folder is None and "/" not in model:
        _check_name(model, timm.list_models())
    source = f"local-dir:{folder}" if folder else f"hf-hub:{model}" if "/" in model else model
    try:
        vit = timm.create_model(
            source, pretrained=pretrained, checkpoint_path=checkpoint or "", num_classes=0, dynamic_img_size=True
        )
    except TypeError as error:
        raise ValueError(f"model={model!r}: not a vision transformer that takes images of any size ({error})") from error
    except (OSError, RuntimeError) as error:
        remedy = "give checkpoint=FILE, the folder of a downloaded copy, or pretrained=False for random weights"
        raise ValueError(f"model={model!r}: its weights could not be loaded ({error}); {remedy}") from error
    if not hasattr(vit, "blocks") or not hasattr(vit, "num_prefix_tokens"):
        raise ValueError(f"model={model!r}: {type(vit).__name__} is not a plain vision transformer")
    return vit


def _check_name(model: str, known: list[str]) -> None:
    name = model.split(".")[0]
    if name not in known:
        raise ValueError(f"model={model!r}: timm has no such model{did_you_mean(name, known)}")
