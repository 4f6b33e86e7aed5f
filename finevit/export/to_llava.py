"""A vision tower for language models in the manner of LLaVA: the Hugging Face folder, a tower around it, and the projector."""

from pathlib import Path

from finevit.connectors import MergeConnector
from finevit.export import to_hf
from finevit.export.files import merge_code, save_json, save_weights
from finevit.export.source import Source
from finevit.export.to_safetensors import metadata
from finevit.registry import MODELS


def write(source: Source, folder: Path) -> None:
    """The files of ``to_hf``, ``llava_finevit.py`` and the projector's settings and weights."""
    source.need("III", "llava")
    connector, weights = source.cfg.model.connector, source.part("connector")
    wide = weights["second.weight"].shape[0] if "second.weight" in weights else 1
    model = MODELS.build({**connector, "dim": source.encoder["dim"], "llm_dim": wide})
    if not isinstance(model, MergeConnector):
        raise ValueError(
            f"model.connector.type={connector.get('type')!r} cannot be exported; --to llava knows MergeConnector alone"
        )
    source.check("connector", model)
    to_hf.write(source, folder)
    merge_code(folder, "llava_finevit")
    sizes = {"dim": source.encoder["dim"], "llm_dim": wide, "hidden": model.first.out_features, "frequencies": model.frequencies}
    save_json(folder / "projector.json", sizes)
    save_weights(folder / "projector.safetensors", weights, metadata(source))
