"""Load a config with its overrides; every failure names the file or setting, the value and the remedy.

A name of a config file that starts with an underscore (``_steps = 600``) is private to the file: it is not part of the
loaded config, so an override of it is refused like any unknown setting instead of having no effect.
"""

import inspect
from collections.abc import Callable, Iterator, Mapping
from functools import wraps
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.config.utils import MODULE2PACKAGE
from mmengine.registry import MODELS, TRANSFORMS, Registry
from mmengine.utils import import_modules_from_strings
from yapf.yapflib import yapf_api

from finevit.config.bundled import bundled, locate
from finevit.config.fractions import resolve_shares
from finevit.config.options import ConfigError, Given
from finevit.config.own_data import LOADERS, SETTINGS, sources, use_own_data
from finevit.config.recorded import recorded_config
from finevit.config.renamed import option_of_today, rename_settings
from finevit.config.schema import RESERVED, arguments, misshapen, registered, scoped, slot_of
from finevit.config.text_settings import reader
from finevit.storage.regular import check_regular
from finevit.suggest import did_you_mean

MODULE2PACKAGE["mmseg"] = "mmseg"
"""MMEngine looks for ``mmseg::`` configs in a distribution ``mmsegmentation``; the maintained one is ``onedl-mmsegmentation``."""

OF_WORKERS = ("persistent_workers", "prefetch_factor")
"""What torch refuses in a dataloader without workers."""


WITH_WEIGHTS = ("config", "tokenizer")
"""What weights of a language model bring along."""


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


def load_config(path: str | Path, options: dict[str, Any] | None = None) -> Config:
    """Load the config file ``path``, or FineViT's own of that bare name; merge ``options`` (dotted name -> value).

    The top-level settings ``data_root`` and ``val_data_root`` lead the dataloaders away from the embedded scenes, as
    :func:`~finevit.config.own_data.use_own_data` says.
    An option that names another ``type`` drops the arguments that the new component does not take, and the tokenizer where it
    brings its own; ``model.llm.model`` drops ``config`` and ``tokenizer``, which its weights bring along; ``num_workers=0`` drops
    the settings of workers. A transform that takes a ``tokenizer`` and names none gets that of ``model.text_encoder`` or of
    ``model.llm``; one that takes ``patch`` or ``snap`` and names none gets ``model.backbone.patch``, or two of it.
    Raises ``ConfigError`` for a missing or broken file, and for an option that does not fit the config.
    """
    return _completed(_read(locate(Path(path))), options if options is not None else {})


def _completed(cfg: Config, options: dict[str, Any]) -> Config:
    for name in [name for name in cfg if name.startswith("_")]:
        cfg.pop(name)
    before = {name: cfg.get(name) for name in SETTINGS}
    rename_settings(cfg._cfg_dict)
    for given in sorted(options, key=_turn):
        name = option_of_today(cfg._cfg_dict, given, options)
        _override(cfg, name, options, given)
        if name == "custom_imports.imports":
            _import_custom(cfg)
        if name.endswith(".type"):
            drop_stale_arguments(cfg, name.removesuffix(".type"))
        if name == "model.llm.model" and cfg.model.llm.model:
            for stale in WITH_WEIGHTS:
                cfg.model.llm.pop(stale, None)
    rename_settings(cfg._cfg_dict)
    if _plain_scope(cfg) and (errors := misshapen(cfg.to_dict())):
        raise ConfigError("\n  ".join(["the config cannot be used:", *errors]))
    for loader in [cfg[name] for name in LOADERS if isinstance(cfg.get(name), dict) and cfg[name].get("num_workers") == 0]:
        for name in OF_WORKERS:
            loader.pop(name, None)
    if not (cfg.get("default_scope") or "").startswith("mm"):  # there, data_root is a variable
        use_own_data(cfg, options, before)
    share_tokenizer(cfg)
    share_patch(cfg)
    resolve_shares(cfg)
    return cfg


def config_of(
    checkpoint: str | Path, meta: Mapping[str, Any], config: str | Path | None = None, options: dict[str, Any] | None = None
) -> Config:
    """The config in the file ``config`` or, without one, in a checkpoint's ``meta``, as :func:`load_config` gives it."""
    if config is not None:
        return load_config(config, options)
    return _completed(recorded_config(checkpoint, meta), options if options is not None else {})


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
        return Config.fromfile(path)
    except Exception as error:
        raise ConfigError(f"{path} cannot be read: {type(error).__name__}: {error}{_first_cause(error)}") from error


def _check_files(path: Path) -> None:
    """``OSError`` where a config or one of its bases is no regular file: MMEngine would wait for a pipe."""
    check_regular(path)
    for base in Config._get_base_files(str(path)):
        if "::" not in base and (path.parent / base).exists():
            _check_files(path.parent / base)


def _import_custom(cfg: Config) -> None:
    """The modules that an option names; MMEngine imports those of the file alone."""
    try:
        import_modules_from_strings(**cfg.custom_imports)
    except Exception as error:  # modules are programs
        told = f"--cfg-options custom_imports.imports={cfg.custom_imports.imports}: {type(error).__name__}: {error}"
        raise ConfigError(f"{told}{_first_cause(error)}; put the folder of the module on PYTHONPATH, or install it") from error


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


def drop_stale_arguments(cfg: Config, path: str) -> None:
    """What the config said to the component that ``path`` held before and the one there now does not take."""
    node: Any = cfg
    for part in path.split("."):
        node = node[int(part)] if isinstance(node, list | tuple) else node[part]
    slot = slot_of(path.rpartition(".")[2], node)
    component = registered(scoped(slot.registry, cfg.get("default_scope") or "mmengine"), node["type"]) if slot else None
    if slot is None or component is None or (takes := arguments(component)).open:
        return
    for name in [name for name in node if name not in takes.names | RESERVED | set(slot.extra)]:
        del node[name]
    if _own_tokenizer(component):
        node.pop("tokenizer", None)


def share_tokenizer(cfg: Config) -> None:
    """The loaders read with the tokenizer of the text encoder or LLM: its ``tokenizer``, or the Hugging Face ``model`` itself."""
    model = cfg.get("model")
    encoder = model.get("text_encoder") or model.get("llm") if isinstance(model, dict) else None
    if not isinstance(encoder, dict):
        return
    component = _component(cfg, MODELS, encoder)
    tokenizer = encoder.get("tokenizer") or encoder.get("model") or _own_tokenizer(component)
    for transform in [part for loader in LOADERS for part in _dicts(cfg.get(loader))]:
        if tokenizer and not transform.get("tokenizer") and _takes_tokenizer(_component(cfg, TRANSFORMS, transform)):
            transform["tokenizer"] = tokenizer


def share_patch(cfg: Config) -> None:
    """The loaders cut images into patches of ``model.backbone.patch``, from sides of whole pairs of them."""
    model = cfg.get("model")
    backbone = model.get("backbone") if isinstance(model, dict) else None
    patch = backbone.get("patch") if isinstance(backbone, dict) else None
    if not isinstance(patch, int) or patch < 1:
        return
    for transform in [part for loader in LOADERS for part in _dicts(cfg.get(loader))]:
        component = _component(cfg, TRANSFORMS, transform)
        takes = inspect.signature(component).parameters if component else {}
        for name in {"patch", "snap"} & takes.keys():
            value = transform.setdefault(name, patch if name == "patch" else 2 * patch)
            if value % patch or (name == "patch" and value != patch):
                told = f"{transform['type']}.{name}={value!r} does not go with model.backbone.patch={patch}"
                raise ConfigError(f"{told}: leave it out, or give {'the same' if name == 'patch' else 'a multiple'}")


def untold_tokenizers(cfg: Config) -> list[str]:
    """What is wrong where transforms still lack a tokenizer, since the model's own part names one only when it is built."""
    model = cfg.get("model")
    name = next((name for name in ("text_encoder", "llm") if isinstance(model, dict) and isinstance(model.get(name), dict)), "")
    component = _component(cfg, MODELS, model[name]) if name else None
    reading = [(path, each) for path, each in _transforms(cfg) if _takes_tokenizer(_component(cfg, TRANSFORMS, each))]
    lacking = [path for path, each in reading if not each.get("tokenizer")]
    if not lacking or not component or _takes_tokenizer(component):
        return []
    own = 'give the class an attribute tokenizer = "NAME_OR_FOLDER", or an argument tokenizer with such a default'
    options = " ".join(f"{path}.tokenizer=NAME_OR_FOLDER" for path in lacking)
    problem = f"model.{name}.type={model[name]['type']!r} names no tokenizer before it is built, but the loaders need it"
    return [f"{problem}: {own}; or name it by --cfg-options {options}"]


def _transforms(cfg: Config) -> Iterator[tuple[str, dict]]:
    """Dotted name and config of the transforms of each dataloader."""
    for path, dataset in sources(cfg):
        for index, transform in enumerate(dataset.get("transforms") or ()):
            yield f"{path}.transforms.{index}", transform


def _component(cfg: Config, registry: Registry, part: dict) -> Callable | None:
    """The component of that registry which a part of a config names."""
    kind = part.get("type")
    return registered(scoped(registry, cfg.get("default_scope") or "mmengine"), kind) if isinstance(kind, str) else None


def _takes_tokenizer(component: Callable | None) -> bool:
    return component is not None and "tokenizer" in inspect.signature(component).parameters


def _own_tokenizer(component: Callable | None) -> str:
    """The tokenizer of a component for which nothing else is set: its argument's default, or that of the class."""
    default = inspect.signature(component).parameters["tokenizer"].default if component and _takes_tokenizer(component) else ""
    own = default if isinstance(default, str) and default else getattr(component, "tokenizer", "")
    return own if isinstance(own, str) else ""


def _dicts(node: Any) -> Iterator[dict]:
    """Every dict in a part of a config."""
    if isinstance(node, dict):
        yield node
    for child in node.values() if isinstance(node, dict) else node if isinstance(node, list | tuple) else ():
        yield from _dicts(child)
