"""Load a config with its overrides; every failure names the file or setting, the value and the remedy.

A name of a config file that starts with an underscore (``_steps = 600``) is private to the file: it is not part of the
loaded config, so an override of it is refused like any unknown setting instead of having no effect.
"""

import sys
from collections.abc import Callable, Collection, Iterator, Mapping
from functools import partial, wraps
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.config.utils import MODULE2PACKAGE
from mmengine.utils import import_modules_from_strings
from yapf.yapflib import yapf_api

from finevit.config.bundled import bundled, locate
from finevit.config.options import ConfigError, Given
from finevit.config.own_data import SETTINGS, use_own_data
from finevit.config.recorded import recorded_config
from finevit.config.renamed import option_of_today, rename_settings
from finevit.config.rules import AFTER_OPTION, RULES
from finevit.config.schema import misshapen
from finevit.config.text_settings import reader
from finevit.config.validation import check_config
from finevit.storage.regular import check_regular
from finevit.suggest import did_you_mean

MODULE2PACKAGE["mmseg"] = "mmseg"
"""MMEngine looks for ``mmseg::`` configs in a distribution ``mmsegmentation``; the maintained one is ``onedl-mmsegmentation``."""

Watch = Callable[[str | Callable, Config], None]
"""Is told of each step of loading when it is done: the name of an option ("" for all files), or the function that is a rule."""


def _formatted_once(format_code: Callable) -> Callable:
    """yapf takes a second to format a config, and MMEngine asks for the same text ten times in a run, at each checkpoint too."""
    known: dict[str, tuple] = {}

    @wraps(format_code)
    def formatted(text: str, **style: Any) -> tuple:
        key = f"{style}\n{text}"
        if key not in known:
            known[key] = format_code(text, **style)
        return known[key]

    return formatted


yapf_api.FormatCode = _formatted_once(yapf_api.FormatCode)


def load(
    path: str | Path,
    options: Mapping[str, Any] | None = None,
    *,
    prepare: Callable[[Config], Any] = lambda cfg: None,
    unused: Collection[str] | Callable[[Config], Collection[str]] = (),
) -> Config:
    """The one door to a config that something is built from: loaded, prepared by the caller's ``prepare``, then checked whole.

    ``options`` are those of :func:`load_config`. Of settings that are ``unused``, which may depend on the config, nothing will be
    built. Call it after ``load_plugins``, so that the names of plugins are known.
    """
    cfg = load_config(path, options)
    prepare(cfg)
    check_config(cfg, unused=unused(cfg) if callable(unused) else unused)
    return cfg


def load_config(path: str | Path, options: Mapping[str, Any] | None = None, *, watch: Watch = lambda step, cfg: None) -> Config:
    """The config file ``path``, or FineViT's own of that bare name, with ``options`` (dotted name -> value), not yet checked.

    Beside files and options, the rules of :mod:`finevit.config.rules` alone set or drop a value, and the settings ``data_root`` and
    ``val_data_root``, as :func:`~finevit.config.own_data.use_own_data` says.
    Raises ``ConfigError`` for a missing or broken file, and for an option that does not fit the config.
    """
    file = locate(Path(path))
    return _completed(_read(file), options if options is not None else {}, watch, overrides=partial(_overrides, file))


def _completed(
    cfg: Config,
    options: Mapping[str, Any],
    watch: Watch = lambda step, cfg: None,
    overrides: Callable[[str, str], bool | None] = lambda old, new: None,
) -> Config:
    watch("", cfg)
    for name in [name for name in cfg if name.startswith("_")]:
        cfg.pop(name)
    roots = {name: cfg.get(name) for name in SETTINGS}
    rename_settings(cfg._cfg_dict, overrides=overrides)
    watch(rename_settings, cfg)
    for given in sorted(options, key=_turn):
        name = option_of_today(cfg._cfg_dict, given, options)
        _override(cfg, name, options, given)
        watch(name, cfg)
        if name == "custom_imports.imports":
            where = f"--cfg-options custom_imports.imports={cfg.custom_imports.imports}"
            _import_custom(cfg, where, "; put the folder of the module on PYTHONPATH, or install it")
        for follows in AFTER_OPTION:
            follows(cfg, name)
            watch(follows, cfg)
    rename_settings(cfg._cfg_dict)
    watch(rename_settings, cfg)
    if _plain_scope(cfg) and (errors := misshapen(cfg.to_dict())):
        raise ConfigError("\n  ".join(["the config cannot be used:", *errors]))
    use_own_data(cfg, options, roots)
    watch(use_own_data, cfg)
    for rule in RULES:
        rule(cfg)
        watch(rule, cfg)
    return cfg


def config_of(
    checkpoint: str | Path, meta: Mapping[str, Any], config: str | Path | None = None, options: dict[str, Any] | None = None
) -> Config:
    """The config in the file ``config`` or, without one, in a checkpoint's ``meta``, as :func:`load_config` gives it."""
    if config is not None:
        return load_config(config, options)
    return _completed(recorded_config(checkpoint, meta), options if options is not None else {})


def _overrides(file: Path, old: str, new: str) -> bool | None:
    """Whether a setting stands in a file that is merged after those that have another; None where one file has both."""
    from finevit.config.origins import layers  # which loads configs too

    with layers() as found:
        Config.fromfile(file, import_custom_modules=False)
    last = [max(place for place, layer in enumerate(found) if layer.has(name)) for name in (old, new)]
    return None if last[0] == last[1] else last[0] > last[1]


def _plain_scope(cfg: Config) -> bool:
    """Whether the settings are MMEngine's and ours alone; raises ``ConfigError`` where the scope is no name."""
    scope = cfg.get("default_scope")
    if not isinstance(scope, str | None) or (scope and not scope.isidentifier()):
        raise ConfigError(f"default_scope={scope!r}: give the name of a package, such as 'finevit'")
    return (scope or "mmengine") in ("finevit", "mmengine")


def _read(path: Path) -> Config:
    if not path.exists():
        here = [str(other) for folder in {path.parent, Path("configs")} for other in sorted(folder.glob("*.py"))]
        told = f"; configs here: {', '.join(here) or 'none'}; FineViT's own: {', '.join(bundled())}"
        hint = did_you_mean(str(path), [*here, *bundled()]) or told
        raise ConfigError(f"the config file {str(path)!r} does not exist{hint}")
    try:
        _check_files(path)
        cfg = Config.fromfile(path, import_custom_modules=False)
    except Exception as error:
        raise ConfigError(f"{path} cannot be read: {type(error).__name__}: {error}{_first_cause(error)}") from error
    if cfg.get("custom_imports"):
        where = f"{path} cannot be read: custom_imports={dict(cfg.custom_imports)} (beside the config, on PYTHONPATH or installed)"
        _import_custom(cfg, where)
    return cfg


def _check_files(path: Path) -> None:
    """``OSError`` where a config or one of its bases is no regular file: MMEngine would wait for a pipe."""
    for file in _files(path):
        check_regular(file)


def _files(path: Path) -> Iterator[Path]:
    """A config and its bases; those of packages apart."""
    yield path
    for base in Config._get_base_files(str(path)):
        if "::" not in base and (path.parent / base).exists():
            yield from _files(path.parent / base)


def _import_custom(cfg: Config, where: str, remedy: str = "") -> None:
    """Imports the modules that ``custom_imports`` names, which may lie beside the config or one of its bases; they come last on the
    path, so that they hide nothing that is installed."""
    folders = {str(Path(file).absolute().parent): None for file in _files(Path(cfg.filename))} if cfg.filename else {}
    sys.path += [folder for folder in folders if folder not in sys.path]
    try:
        import_modules_from_strings(**cfg.custom_imports)
    except Exception as error:  # modules are programs
        raise ConfigError(f"{where}: {type(error).__name__}: {error}{_first_cause(error)}{remedy}") from error


def _first_cause(error: BaseException) -> str:
    """What MMEngine's message about an import leaves out."""
    first = error
    while (before := first.__cause__ or first.__context__) is not None:
        first = before
    return "" if first is error else f" ({type(first).__name__}: {first})"


def _turn(option: str) -> int:
    """Options that import or name another component come first, since they change what the others are set of."""
    return -1 if option.startswith("custom_imports") else 0 if option.endswith(".type") else 1 if option == "model.llm.model" else 2


def _override(cfg: Config, name: str, options: Mapping[str, Any], given: str) -> None:
    """Sets what an option, ``given`` by this or an older name, says."""
    if not name.isprintable() or not all(name.split(".")):
        raise ConfigError(f"--cfg-options {name}: give the dotted name of a setting, such as train_cfg.max_iters=100")
    value = options[given]
    if isinstance(options, Given):
        value = _read_text(cfg, name, options.typed[given])
    try:
        cfg.merge_from_dict({name: value})
    except Exception as error:  # MMEngine asks a list's items for what dicts have
        remedy = "; an item of a list that is no dict is set with the whole list" if isinstance(error, AttributeError) else ""
        raise ConfigError(f"--cfg-options {name}={value}: does not fit the config ({error}){remedy}") from error


def _read_text(cfg: Config, name: str, text: str) -> Any:
    try:
        return reader(cfg, name)(text)
    except ValueError as error:
        raise ConfigError(f"--cfg-options {name}={text}: {error}; name the settings of a dict one by one: A.B=1 A.C=2") from error
