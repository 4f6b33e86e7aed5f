"""An ONNX graph with dynamic batch, height and width, checked in ONNX Runtime where that is installed."""

import importlib.util
import json
import warnings
from pathlib import Path

import torch
from torch import Tensor, nn

from finevit.export.exporter import Exporter
from finevit.export.files import copy_code
from finevit.export.source import LoadedCheckpoint
from finevit.export.templates.encoder_finevit import Encoder
from finevit.export.to_safetensors import metadata
from finevit.registry import EXPORTERS

NAME = "model.onnx"
LARGEST = 4096
"""Patches along a side, at most; batches have the same limit."""
TOLERANCE = 1e-3
"""Between the graph and the encoder, of outputs of about 1."""


class Outputs(nn.Module):
    """The encoder's tokens and pooled vectors, alone."""

    def __init__(self, encoder: Encoder) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, pixel_values: Tensor) -> tuple[Tensor, Tensor]:
        tokens, pooled, _ = self.encoder.encode(pixel_values)
        return tokens, pooled


@EXPORTERS.register_module(name="onnx")
class OnnxExporter(Exporter):
    """``model.onnx`` (weights beside it where they are more than 2 GB) and ``config.json``."""

    needs = ("onnx", "onnxscript")
    library = "onnx"
    title = "ONNX Runtime"
    tags = ("onnx",)
    limits = ("Images of one call have one size; weights and activations are float32.",)
    usage = """
```python
import onnxruntime

session = onnxruntime.InferenceSession("model.onnx", providers=["CPUExecutionProvider"])
tokens, pooled = session.run(None, {{"pixel_values": pixels}})  # float32 [batch, 3, height, width], normalised
```

Batch, height and width are free; height and width are multiples of the patch. `config.json` holds mean, standard deviation and the
budget of pixels, `pixels_finevit.py` (needs torch) what resizes and normalises as in training.
"""

    def write(self, source: LoadedCheckpoint, folder: Path) -> None:
        encoder = Encoder(**source.encoder)
        encoder.load_state_dict(source.part("backbone"))
        model = Outputs(encoder.eval().float())
        _export(model, encoder.patch, folder / NAME)
        content = {name: json.loads(value) if name in ("config", "image") else value for name, value in metadata(source).items()}
        (folder / "config.json").write_text(json.dumps(content, indent=2) + "\n")
        copy_code(folder, "pixels_finevit")
        if importlib.util.find_spec("onnxruntime"):
            _check(model, encoder.patch, folder / NAME)


def _export(model: Outputs, patch: int, path: Path) -> None:
    rows, cols = (torch.export.Dim(name, min=1, max=LARGEST) for name in ("rows", "cols"))
    shape = {0: torch.export.Dim("batch", min=1, max=LARGEST), 2: patch * rows, 3: patch * cols}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the exporter, on its own code
        program = torch.onnx.export(
            model,
            (torch.zeros(2, 3, 2 * patch, 3 * patch),),
            input_names=["pixel_values"],
            output_names=["tokens", "pooled"],
            dynamic_shapes=(shape,),
            dynamo=True,
            verbose=False,
        )
    assert program is not None
    program.save(path)


def _check(model: Outputs, patch: int, path: Path) -> None:
    """``ValueError`` where the graph gives something else at sizes that it was not made with."""
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    for batch, rows, cols in ((1, 1, 1), (3, 5, 2)):
        pixels = torch.randn(batch, 3, rows * patch, cols * patch, generator=torch.Generator().manual_seed(0))
        found = session.run(None, {"pixel_values": pixels.numpy()})
        with torch.no_grad():
            wanted = model(pixels)
        worst = max(float((torch.from_numpy(a) - b).abs().max()) for a, b in zip(found, wanted, strict=True))
        if not worst < TOLERANCE:
            raise ValueError(
                f"--to onnx: the graph differs from the encoder by {worst:.2g} at {rows} x {cols} patches; report this"
            )
