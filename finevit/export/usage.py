"""How each export is loaded, as its model card says it. Texts are formats of ``{arch}``."""

from typing import NamedTuple


class Usage(NamedTuple):
    """``library`` and ``pipeline`` are names of the hub, ``name`` is for people; ``limits`` are the target's own."""

    library: str
    name: str
    pipeline: str
    text: str
    tags: tuple[str, ...] = ()
    limits: tuple[str, ...] = ()


_REMOTE = (
    "Its code lies beside the weights: Transformers has no class of this structure, so loading asks for trust_remote_code=True."
)

USAGES = {
    "safetensors": Usage(
        "safetensors",
        "PyTorch",
        "image-feature-extraction",
        """
```python
import json
from safetensors import safe_open
from encoder_finevit import Encoder  # the file beside the weights; needs torch alone

with safe_open("model.safetensors", "pt") as file:
    encoder = Encoder(**json.loads(file.metadata()["config"])).eval()
    encoder.load_state_dict({{key: file.get_tensor(key) for key in file.keys()}})
tokens, pooled, states = encoder.encode(pixels)  # normalised [batch, 3, height, width]
```
""",
    ),
    "hf": Usage(
        "transformers",
        "Hugging Face Transformers",
        "image-feature-extraction",
        """
```python
from transformers import AutoImageProcessor, AutoModel

model = AutoModel.from_pretrained(FOLDER, trust_remote_code=True).eval()
processor = AutoImageProcessor.from_pretrained(FOLDER, trust_remote_code=True)
output = model(**processor(images))  # last_hidden_state, pooler_output
```

Images of one size become a batch, others are packed as patches with their grids; the model reads both.
""",
        limits=(_REMOTE,),
    ),
    "timm": Usage(
        "timm",
        "timm",
        "image-feature-extraction",
        """
```python
import sys, timm
sys.path.insert(0, FOLDER)
import timm_finevit  # registers the models

model = timm.create_model("local-dir:" + FOLDER, pretrained=True).eval()
maps = timm.create_model("local-dir:" + FOLDER, pretrained=True, features_only=True, out_indices=(1, -1))
tuned = timm.create_model("local-dir:" + FOLDER, pretrained=True, num_classes=10)
```

Sides of images are multiples of the patch, else of any size. The weights are also read by
`timm.create_model("finevit_{arch}", checkpoint_path="model.safetensors", ...)` with the `model_args` of config.json.
""",
        tags=("timm",),
        limits=("timm's transforms resize and crop to one size; training kept the aspect ratio.",),
    ),
    "onnx": Usage(
        "onnx",
        "ONNX Runtime",
        "image-feature-extraction",
        """
```python
import onnxruntime

session = onnxruntime.InferenceSession("model.onnx", providers=["CPUExecutionProvider"])
tokens, pooled = session.run(None, {{"pixel_values": pixels}})  # float32 [batch, 3, height, width], normalised
```

Batch, height and width are free; height and width are multiples of the patch. `config.json` holds mean, standard deviation and the
budget of pixels, `pixels_finevit.py` (needs torch) what resizes and normalises as in training.
""",
        tags=("onnx",),
        limits=("Images of one call have one size; weights and activations are float32.",),
    ),
    "llava": Usage(
        "transformers",
        "language models in the manner of LLaVA",
        "image-feature-extraction",
        """
```python
import sys
sys.path.insert(0, FOLDER)
from llava_finevit import FineViTVisionTower, LlavaImages, load_projector

tower = FineViTVisionTower(FOLDER)
pixels = tower.image_processor.preprocess(image)["pixel_values"]  # squares; LlavaImages(FOLDER, native=True): native sizes
features = tower(pixels)  # [batch, patches, hidden_size]; a list of images of any sizes gives a list
projector = load_projector(FOLDER)  # of Stage III: 2 x 2 patches become one token
visual = projector(features, (pixels.shape[2] // tower.config.patch_size, pixels.shape[3] // tower.config.patch_size))
```

The folder is also one of Transformers: `AutoModel.from_pretrained(FOLDER, trust_remote_code=True)`.
""",
        limits=(_REMOTE, "The projector fits the language model of its Stage III alone; train a new one for another."),
    ),
    "open_clip": Usage(
        "open_clip",
        "users of open_clip and CLIP_benchmark",
        "zero-shot-image-classification",
        """
```python
import sys
sys.path.insert(0, FOLDER)
from open_clip_finevit import load  # needs torch, safetensors and transformers (for the tokenizer)

model, preprocess, tokenizer = load(FOLDER)
image = model.encode_image(preprocess(picture)[None], normalize=True)
text = model.encode_text(tokenizer(["a red circle", "two cats"]), normalize=True)
logits = model.logit_scale.exp() * image @ text.T
```

`preprocess` makes squares, which loaders can put into batches; `load(FOLDER, native=True)` keeps the aspect ratio, as in training,
and `encode_image` then takes a list. `logit_bias` is a number, or None for a softmax loss.
""",
        limits=(
            "open_clip.create_model does not know this architecture: load it with the file beside the weights.",
            "The results were measured at native aspect ratios, not on the squares that preprocess makes by default.",
        ),
    ),
}
