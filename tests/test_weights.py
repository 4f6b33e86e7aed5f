"""Checkpoint files: what is read, and what is said of files and keys that are of no use."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from finevit.hub.weights import check_fit, differences, read_checkpoint, under, weights_of


def tensors(**shapes: tuple[int, ...]) -> dict[str, Tensor]:
    return {name.replace("__", "."): torch.ones(shape) for name, shape in shapes.items()}


@pytest.mark.parametrize("wrapped", [True, False])
@pytest.mark.parametrize("modern", [True, False])
def test_weights_are_found_in_every_kind_of_file(tmp_path: Path, wrapped: bool, modern: bool) -> None:
    weights = {f"module.{name}": value for name, value in tensors(backbone__a=(2,), head__b=(3,)).items()}
    content = {"meta": {}, "state_dict": weights} if wrapped else weights
    torch.save(content, tmp_path / "x.pth", _use_new_zipfile_serialization=modern)
    found = weights_of(read_checkpoint(tmp_path / "x.pth", setting="checkpoint", remedy=""))
    assert found.keys() == {"backbone.a", "head.b"}
    assert list(under(found, "backbone.")) == list(under(found, "backbone")) == ["a"]
    assert list(under(found, "back")) == []
    assert under(found, "") == found


def test_files_of_no_use_are_named_with_the_setting_and_the_remedy(tmp_path: Path) -> None:
    (tmp_path / "torn.pth").write_bytes(b"half")
    torch.save(torch.zeros(2), tmp_path / "tensor.pth")
    torch.save({"state_dict": [1]}, tmp_path / "list.pth")
    for name, told in (
        ("torn.pth", r"' cannot be read as a checkpoint \(.+\)"),
        ("", r"' cannot be read as a checkpoint \(.*directory.*\)"),
        ("tensor.pth", "' holds no weights by name but a Tensor"),
        ("list.pth", "' holds no weights by name but a list"),
        ("tron.pth", r"': '.*tron\.pth' does not exist \(did you mean 'torn\.pth'\?\)"),
        ("nowhere://x", r"' cannot be read as a checkpoint \(.*\)"),
    ):
        file = name if "://" in name else str(tmp_path / name)
        with pytest.raises(ValueError, match=f"^init='.*{told}; give another$"):
            read_checkpoint(file, setting="init", remedy="give another")


def test_what_differs_is_told_by_key() -> None:
    wanted, found = tensors(a=(1,), b=(2, 3), c=(4,)), tensors(b=(3, 2), c=(4,), d=(5,))
    assert differences(wanted, found) == {"a": "missing", "d": "unexpected", "b": "is [3, 2], wanted [2, 3]"}
    assert differences(wanted, wanted) == {}
    check_fit(wanted, wanted, where="", remedy="")
    found["c"][1] = float("inf")
    with pytest.raises(ValueError, match=r"^x\.pth: 4 keys do not fit:\n  head\.a: missing\n") as caught:
        check_fit(wanted, found, where="x.pth", remedy="train it again", prefix="head.")
    assert str(caught.value).endswith("\n  head.c: holds numbers that are not finite\ntrain it again")


def test_a_long_list_of_keys_goes_to_a_file_where_one_is_named(tmp_path: Path) -> None:
    wanted = {f"k{i}": torch.zeros(1) for i in range(23)}
    with pytest.raises(ValueError, match=r"23 keys do not fit:(\n  k\d+: missing){20}\n  and 3 more\nremedy$"):
        check_fit(wanted, {}, where="x", remedy="remedy")
    with pytest.raises(ValueError, match=r"and 3 more, all of them in .*keys\.txt\nremedy$"):
        check_fit(wanted, {}, where="x", remedy="remedy", listing=tmp_path / "keys.txt")
    assert (tmp_path / "keys.txt").read_text().splitlines() == [f"k{i}: missing" for i in range(23)]
    with pytest.raises(ValueError, match=r"24 keys do not fit:\n  other: unexpected\n  k0: missing\n"):
        check_fit(wanted, {"other": torch.zeros(1)}, where="x", remedy="remedy")
