"""Dotted names of settings, such as ``train_dataloader.dataset.transforms.0.type``: what a config holds under them."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from mmengine.config import Config


def settings(node: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Everything inside a part of a config, dicts and lists too, each before what is in it, by its dotted name."""
    for key, child in node.items() if isinstance(node, Mapping) else enumerate(node) if isinstance(node, list | tuple) else ():
        inner = f"{path}.{key}" if path else str(key)
        yield inner, child
        yield from settings(child, inner)


def dicts(node: Any) -> Iterator[tuple[str, Any]]:
    """Every dict of a part of a config, itself too (by the name ""), by its dotted name."""
    return ((path, part) for path, part in (("", node), *settings(node)) if isinstance(part, Mapping))


def at(node: Any, parts: Sequence[str]) -> Any:
    """What a config holds under a dotted name, given by its parts; None where it holds nothing."""
    for part in parts:
        if isinstance(node, list | tuple):
            node = node[int(part)] if part.isdecimal() and int(part) < len(node) else None
        else:
            node = node.get(part) if isinstance(node, Mapping | Config) else None
    return node
