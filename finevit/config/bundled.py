"""FineViT's own configs, installed with it: by bare name where a command takes a config, as ``finevit::NAME.py`` in ``_base_``.

They lie in ``.mim/configs``, as OpenMMLab's packages have it; in a checkout that is a link to ``configs``. MMEngine asks for an
index of models there, and for a folder in each name: :func:`_ours_first` needs neither.
"""

from collections.abc import Callable
from functools import wraps
from pathlib import Path

from mmengine.config import Config

from finevit.suggest import did_you_mean

FOLDER = (Path(__file__).parents[1] / ".mim/configs").resolve()
PREFIX = "finevit::"


def bundled() -> dict[str, Path]:
    """The leaf configs by name, those of the stages first."""
    files = sorted(FOLDER.rglob("*.py"), key=lambda file: (len(file.parts), file))
    return {file.stem: file for file in files if "_base_" not in file.parts}


def locate(path: Path) -> Path:
    """``path``; a bare name that is no file here, as our config of that name, if there is one."""
    bare = path.parent == Path() and path.suffix in ("", ".py")
    return bundled().get(path.stem, path) if bare and (path.is_dir() or not path.exists()) else path


def _ours_first(get: Callable) -> Callable:
    @wraps(get)
    def path_of(base: str, filename: str) -> tuple[str, str | None]:
        if not base.startswith(PREFIX):
            return get(base, filename)
        file = FOLDER / base.removeprefix(PREFIX)
        if not file.is_file():
            names = [f"{PREFIX}{each.relative_to(FOLDER).as_posix()}" for each in sorted(FOLDER.rglob("*.py"))]
            raise ValueError(f"_base_={base!r} is no config of FineViT{did_you_mean(base, names) or f'; there are: {names}'}")
        return str(file), None

    return path_of


Config._get_cfg_path = staticmethod(_ours_first(Config._get_cfg_path))
