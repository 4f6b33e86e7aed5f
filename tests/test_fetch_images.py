"""The tool that fetches captioned sets: what it makes of the packages' folders, and what it refuses."""

import json
import sys
import tarfile
from pathlib import Path

import pytest
from PIL import Image

from finevit.commands import fetch_images as tool
from finevit.datasets.readers import open_source


def picture(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (8, 6)).save(path)


def fake_fetch(package, folder: Path) -> Path:
    """The folders of the packages, in small."""
    place = folder / package.name.replace("/", "-")
    if package.name == "tuxpaint-stamps-default":
        root = place / "usr/share/tuxpaint/stamps"
        for name in ("food/egg", "food/bare", "town/car"):
            picture(root / f"{name}.png")
        (root / "food/egg.txt").write_text("An egg.\nde.utf8=Ein Ei.\n", "utf-8")
        (root / "town/car.txt").write_text("A car.", "utf-8")
    elif package.name == "emojibase-data":
        (place / "package/en").mkdir(parents=True)
        skins = [{"label": "hand: dark", "hexcode": "270B-1F3FF"}]
        entries = [
            {"label": "hand", "hexcode": "270B-FE0F", "tags": ["five", "stop"], "skins": skins},
            {"label": "not drawn", "hexcode": "1"},
        ]
        (place / "package/en/data.json").write_text(json.dumps(entries))
    else:
        for code in ("270b", "270b-1f3ff", "ffff"):
            picture(place / f"package/assets/{code}.webp")
    return place


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("tuxpaint", {"food/egg.png": "An egg.", "town/car.png": "A car."}),
        ("emoji", {"270b.webp": "hand (five, stop)", "270b-1f3ff.webp": "hand: dark (five, stop)"}),
    ],
)
def test_sets_become_folders_that_the_reader_opens(name, wanted, tmp_path, monkeypatch):
    monkeypatch.setattr(tool, "fetch", fake_fetch)
    assert tool.write(name, tmp_path / "new" / "set") == 2
    source = open_source(data_root=tmp_path / "new" / "set", split="all")
    assert {source[i].id: source[i].captions["alt"] for i in range(len(source))} == wanted
    assert tool.sizes(tmp_path / "new" / "set") == "width 8 / 8 / 8 / 8 / 8, height 6 / 6 / 6 / 6 / 6"
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["set"]


def test_an_archive_of_another_sha256_is_refused(tmp_path, monkeypatch):
    def pack(*command: str, cwd: Path) -> None:
        assert command == ("npm", "pack", "--silent", "@some/thing@1.0")
        with tarfile.open(cwd / "thing.tgz", "w:gz"):
            pass

    monkeypatch.setattr(tool, "_run", pack)
    with pytest.raises(SystemExit, match=r"@some/thing 1\.0 has sha256 [0-9a-f]{64}, not 00: it is not used"):
        tool.fetch(tool.Package("npm", "@some/thing", "1.0", "00"), tmp_path)


def test_failures_say_what_to_do(tmp_path, monkeypatch, capsys):
    with pytest.raises(SystemExit, match="no-such-program is not installed here; choose a set of another registry"):
        tool._run("no-such-program", cwd=tmp_path)
    with pytest.raises(SystemExit, match=r"python.* failed: .*boom"):
        tool._run(sys.executable, "-c", "raise SystemExit('boom')", cwd=tmp_path)
    monkeypatch.setattr(sys, "argv", ["fetch_images.py", "emoji", "--out", str(tmp_path)])
    with pytest.raises(SystemExit):
        tool.main()
    assert "exists; remove it or choose another folder" in capsys.readouterr().err
