"""A vision tower for language models in the manner of LLaVA, and the projector that FineViT was aligned with.

``FineViTVisionTower(FOLDER)`` has what LLaVA's builders use; the folder is also one of Hugging Face Transformers.
"""

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from transformers import AutoConfig, AutoImageProcessor, AutoModel

from .projector_finevit import Projector


class FineViTVisionTower(nn.Module):
    """Images to features, one for each patch.

    Args:
        vision_tower: the folder of this export.
        args: of LLaVA: ``mm_vision_select_layer`` (-1, the default: the tokens that the projector was trained on; others: outputs
            of that block through the last norm) and ``unfreeze_mm_vision_tower``. None for the defaults.
        delay_load: read the weights at :meth:`load_model` only.
    """

    def __init__(self, vision_tower: str, args: Any = None, delay_load: bool = False) -> None:
        super().__init__()
        self.vision_tower_name, self.is_loaded = str(vision_tower), False
        self.select_layer = getattr(args, "mm_vision_select_layer", -1)
        self.trainable = bool(getattr(args, "unfreeze_mm_vision_tower", False))
        self._config = AutoConfig.from_pretrained(self.vision_tower_name, trust_remote_code=True)
        self.image_processor = LlavaImages(self.vision_tower_name)
        if not delay_load:
            self.load_model()

    def load_model(self, device_map: Any = None) -> None:
        """Reads the weights, once."""
        if self.is_loaded:
            return
        self.vision_tower = AutoModel.from_pretrained(self.vision_tower_name, trust_remote_code=True, device_map=device_map)
        self.vision_tower.requires_grad_(self.trainable)
        self.is_loaded = True

    def feature_select(self, outputs: Any) -> Tensor:
        """The features of ``select_layer``."""
        if self.select_layer == -1:
            return outputs.last_hidden_state
        return self.vision_tower.encoder.norm(outputs.hidden_states[self.select_layer])

    def forward(self, images: Tensor | list[Tensor]) -> Tensor | list[Tensor]:
        """``[batch, 3, height, width]`` -> ``[batch, patches, hidden_size]``; a list of images ``[3, height, width]`` of
        any sizes -> a list of ``[1, patches, hidden_size]``."""
        with torch.set_grad_enabled(self.trainable and torch.is_grad_enabled()):
            if isinstance(images, list):
                return [self._features(image[None]) for image in images]
            return self._features(images)

    def _features(self, images: Tensor) -> Tensor:
        ready = images.to(device=self.device, dtype=self.dtype)
        outputs = self.vision_tower(ready, output_hidden_states=self.select_layer != -1)
        return self.feature_select(outputs).to(images.dtype)

    @property
    def dummy_feature(self) -> Tensor:
        """What stands for no image."""
        return torch.zeros(1, self.hidden_size, device=self.device, dtype=self.dtype)

    @property
    def dtype(self) -> torch.dtype:
        """Of the weights."""
        return self.vision_tower.dtype

    @property
    def device(self) -> torch.device:
        """Of the weights."""
        return self.vision_tower.device

    @property
    def config(self) -> Any:
        """The encoder's; also before the weights are read."""
        return self.vision_tower.config if self.is_loaded else self._config

    @property
    def hidden_size(self) -> int:
        """Width of the features."""
        return self.config.hidden_size

    @property
    def num_patches_per_side(self) -> int:
        """Of an image as ``image_processor`` prepares it."""
        return self.image_processor.crop_size["height"] // self.config.patch_size

    @property
    def num_patches(self) -> int:
        """Of an image as ``image_processor`` prepares it."""
        return self.num_patches_per_side**2


class LlavaImages:
    """The folder's image processor as LLaVA calls it: squares of one size unless ``native``.

    Args:
        folder: the folder of this export.
        native: keep the aspect ratio; then give the tower a list.
    """

    def __init__(self, folder: str, native: bool = False) -> None:
        self.processor, self.native = AutoImageProcessor.from_pretrained(folder, trust_remote_code=True), native
        self.image_mean, self.image_std = self.processor.image_mean, self.processor.image_std
        side = self.preprocess([torch.zeros(3, 28, 28, dtype=torch.uint8)])["pixel_values"][0].shape[1]
        self.size = {"shortest_edge": side}
        self.crop_size = {"height": side, "width": side}

    def preprocess(self, images: Any, return_tensors: str = "pt", **options: Any) -> dict[str, Any]:
        """``pixel_values``: ``[batch, 3, side, side]``, or a list of images at their native sizes."""
        many = list(images) if isinstance(images, list | tuple) else [images]
        ready = [self.processor.preprocess([image], square=not self.native, packed=False)["pixel_values"][0] for image in many]
        return {"pixel_values": ready if self.native else torch.stack(ready)}

    __call__ = preprocess


def load_projector(folder: str | Path) -> Projector:
    """The projector of Stage III: ``projector(features, grid)``."""
    settings = json.loads((Path(folder) / "projector.json").read_text())
    projector = Projector(**settings)
    projector.load_state_dict(load_file(Path(folder) / "projector.safetensors"))
    return projector.eval()
