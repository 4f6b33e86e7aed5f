"""People's own data in place of the embedded scenes: what ``data_root`` and ``val_data_root`` change, and what they leave."""

import logging
from collections.abc import Iterator, Mapping
from typing import Any

from mmengine.config import Config, ConfigDict
from mmengine.logging import print_log
from mmengine.registry import DATASETS

from finevit.config.options import ConfigError
from finevit.config.schema import arguments, registered, scoped

LOADERS = ("train_dataloader", "val_dataloader", "test_dataloader")
SETTINGS = ("data_root", "val_data_root")
EMBEDDED = ("Scenes", "finevit.Scenes")


def use_own_data(cfg: Config, options: Mapping[str, Any], before: Mapping[str, Any]) -> None:
    """``data_root`` leads the dataloaders away from the embedded scenes, ``val_data_root`` those of validation and test.

    A source of the embedded scenes becomes ``OpenData`` there. What was said of it stays and is checked like any argument; only
    what ``Scenes`` alone takes gives way, unless an option named it. Another source gets the path where it takes one and names
    none. One that names its own keeps it in validation; in training it has to give way, which is said, to an option.
    ``options`` are those of the command line, ``before`` the roots that the config file had.
    """
    if (cfg.get("default_scope") or "").startswith("mm"):  # there, data_root is a variable
        return
    found = dict(sources(cfg))
    old = {*before.values(), *(dataset["source"].get("data_root") for path, dataset in found.items() if _trains(path))}
    for setting in [setting for setting in SETTINGS if cfg.get(setting) is not None]:
        if setting not in (_setting(cfg, path) for path in found):
            _unread(setting, cfg[setting], options)
    for path, dataset in found.items():
        if setting := _setting(cfg, path):
            root = _root(f"{path}.source.data_root".lstrip("."), dataset["source"], setting, str(cfg[setting]), options, old)
            _lead(cfg, path, dataset, root, options)


def roots(cfg: Mapping) -> set[str]:
    """The paths that the sources of the dataloaders read."""
    return {str(dataset["source"]["data_root"]) for _, dataset in sources(cfg) if dataset["source"].get("data_root") is not None}


def _trains(path: str) -> bool:
    return path.startswith("train") or not path


def _setting(cfg: Config, path: str) -> str:
    """Which of the two settings leads a loader; none where neither is set."""
    if not _trains(path) and cfg.get("val_data_root") is not None:
        return "val_data_root"
    return "data_root" if cfg.get("data_root") is not None else ""


def _unread(setting: str, value: Any, options: Mapping[str, Any]) -> None:
    """A path that no loader reads: an error on the command line; in a config file it may be a variable of another package."""
    told = f"{setting}={value!r}: no dataloader of this config has a dataset with a source that could read it"
    if setting in options:
        raise ConfigError(told)
    print_log(told, logger="current", level=logging.WARNING)


def _root(place: str, source: Mapping, setting: str, root: str, options: Mapping[str, Any], old: set) -> str:
    """The path that a source reads: that of the setting, or its own, at ``place``."""
    own = source.get("data_root")
    if own is None or str(own) == root:
        return root
    if setting == "data_root" and not _trains(place) and (place in options or own not in old):
        return str(own)
    if place not in options and (setting in options or own in old):
        if own not in old or _trains(place):
            print_log(f"{place}={str(own)!r} gives way to {setting}={root!r}", logger="current", level=logging.WARNING)
        return root
    raise ConfigError(f"{setting}={root!r}, but {place}={str(own)!r} is set too: both say where these images lie; leave one out")


def _lead(cfg: Config, path: str, dataset: ConfigDict, root: str, options: Mapping[str, Any]) -> None:
    """Makes the source of a loader read ``root``."""
    source, embedded = dataset["source"], dataset["source"].get("type") in EMBEDDED
    if embedded:
        dataset["source"] = _open_data(cfg, source, f"{path}.source".lstrip("."), options)
        source = dataset["source"]  # a Config keeps a copy
        if not path:
            source["split"] = "all"
    elif not _trains(path) and not _takes_root(cfg, source):
        return
    source["data_root"] = root
    separate = root != str(cfg.get("data_root")) and (embedded or "val_data_root" in options)
    if separate and source.get("split") == "val" and f"{path}.source.split" not in options:
        source["split"] = "all"  # of a set for validation nothing has to be held out


def _open_data(cfg: Config, source: Mapping, path: str, options: Mapping[str, Any]) -> ConfigDict:
    """What was said of the embedded scenes, said of people's own data."""
    scope = cfg.get("default_scope") or "mmengine"
    scenes, own = (registered(scoped(DATASETS, scope), f"finevit.{name}") for name in ("Scenes", "OpenData"))
    gone = arguments(scenes).names - arguments(own).names if scenes and own else frozenset()
    named = {option.removeprefix(f"{path}.").partition(".")[0] for option in options if option.startswith(f"{path}.")}
    kept = {key: value for key, value in source.items() if key not in gone - named}
    return ConfigDict({**kept, "type": "OpenData", "split": source.get("split", "train")})


def _takes_root(cfg: Config, source: Mapping) -> bool:
    component = registered(scoped(DATASETS, cfg.get("default_scope") or "mmengine"), str(source.get("type")))
    return component is None or "data_root" in arguments(component).names


def sources(cfg: Mapping) -> Iterator[tuple[str, ConfigDict]]:
    """Dotted name and dataset of each dataloader that reads a source; a run that recaptions has one itself, which has no name."""
    if isinstance(cfg.get("source"), dict) and "passes" in cfg:
        yield "", cfg
    for name in LOADERS:
        dataset = (cfg.get(name) or {}).get("dataset") or {}
        if isinstance(dataset.get("source"), dict):
            yield f"{name}.dataset", dataset
