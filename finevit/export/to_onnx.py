"""An ONNX graph with dynamic batch, height and width, checked in ONNX Runtime where that is installed."""

import importlib.util
import json
import warnings
from pathlib import Path

import torch
from torch import Tensor, nn

from finevit.export.files import copy_code
from finevit.export.source import Source
from finevit.export.templates.encoder_finevit import Encoder
from finevit.export.to_safetensors import metadata

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


def write(source: Source, folder: Path) -> None:
    """``model.onnx`` (weights beside it where they are more than 2 GB) and ``config.json``."""
    if missing := [name for name in ("onnx", "onnxscript") if importlib.util.find_spec(name) is None]:
        raise ValueError(f"--to onnx: {' and '.join(missing)} not installed; `pip install {' '.join(missing)}`")
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
