"""What an export format states of itself. A new one is a module in this folder with a registered subclass."""

from abc import ABC, abstractmethod
from importlib.util import find_spec
from pathlib import Path
from typing import ClassVar

from finevit.export.source import LoadedCheckpoint

REMOTE = (
    "Its code lies beside the weights: Transformers has no class of this structure, so loading asks for trust_remote_code=True."
)


class Exporter(ABC):
    """Writes a checkpoint into a folder for another library; its name in the registry is what ``--to`` takes."""

    stage: ClassVar[str] = ""
    """The stage whose checkpoints it needs: "I", "II" or "III"; "" takes any, and OpenMMLab models on FineViT too."""
    needs: ClassVar[tuple[str, ...]] = ()
    """Packages that have to be installed."""
    library: ClassVar[str]
    """The library that loads it, by its name on the hub."""
    title: ClassVar[str]
    """The same for people."""
    pipeline: ClassVar[str] = "image-feature-extraction"
    """The hub's name of what it is used for."""
    usage: ClassVar[str]
    """How it is loaded, for the model card: a format of ``{arch}``."""
    tags: ClassVar[tuple[str, ...]] = ()
    limits: ClassVar[tuple[str, ...]] = ()
    """What a user has to know, a sentence each."""

    @abstractmethod
    def write(self, source: LoadedCheckpoint, folder: Path) -> None:
        """Writes all files but the model card."""

    def check(self, source: LoadedCheckpoint, target: str) -> None:
        """``ValueError`` where the checkpoint is of another stage, or a package is missing."""
        if self.stage:
            source.need(self.stage, target)
        if missing := [name for name in self.needs if find_spec(name) is None]:
            raise ValueError(f"--to {target}: {' and '.join(missing)} not installed; `pip install {' '.join(missing)}`")
