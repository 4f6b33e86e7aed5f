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
}
