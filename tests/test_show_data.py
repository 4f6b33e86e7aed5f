"""tools/show_data.py: pictures, PDF and HTML, and where a page may go."""

import re
import runpy
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image
from sample_pages import Outline

from finevit.commands import show
from finevit.contracts import Record
from finevit.visualization.records import page
from finevit.visualization.report import write

TOOL = Path(__file__).parent.parent / "tools/show_data.py"


@pytest.fixture
def shown(monkeypatch, capsys) -> Callable[..., SimpleNamespace]:
    """Runs the tool in this process; its exit status and what it said."""

    def run(*arguments: str) -> SimpleNamespace:
        monkeypatch.setattr(sys, "argv", ["show_data.py", "--n", "2", *arguments])
        code = 0
        try:
            runpy.run_path(str(TOOL), run_name="__main__")
        except SystemExit as exit:
            code = exit.code
        said = capsys.readouterr()
        return SimpleNamespace(returncode=code, stdout=said.out, stderr=said.err)

    return run


def test_show_data_draws_a_page(tmp_path):
    page = tmp_path / "out" / "page.png"
    command = [sys.executable, str(TOOL), "--level", "easy", "--n", "3", "--columns", "2", "--out", str(page)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "3 records drawn" in done.stdout
    with Image.open(page) as image:
        assert image.width == 2 * 440
        assert image.height > 500


def test_show_data_writes_html(shown, tmp_path):
    data = tmp_path / "own"
    data.mkdir()
    for name in ("a", "b"):
        Image.new("RGB", (80, 60), "red").save(data / f"{name}.png")
        (data / f"{name}.txt").write_text(f"{name}: <b>bold</b>")
    done = shown("--data-root", str(data), "--split", "all", "--out", str(tmp_path / "new" / "page.HTML"))
    assert (done.returncode, done.stderr) == (0, "")
    outline = Outline((tmp_path / "new" / "page.HTML").read_text())
    assert outline.tags.count("img") == len(outline.loads) == 2
    assert all(target.startswith("data:image/jpeg;base64,") for target in outline.loads)
    assert "b" not in outline.tags
    assert "Records" in outline.text


@pytest.mark.parametrize(
    ("out", "said"),
    [
        ("page", "give a file that ends in .png, .jpg, .jpeg, .webp, .pdf, .html or .htm"),
        ("page.svg", "give a file that ends in"),
        (".html", "give a file that ends in"),
        ("", "give a file that ends in"),
        ("folder.html", "is a folder; give a file in it, such as"),
        ("file/page.html", "its folder cannot be made"),
    ],
)
def test_show_data_says_where_a_page_may_go_before_it_draws(tmp_path, out, said):
    (tmp_path / "folder.html").mkdir()
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match=re.escape(said)):
        show.check_out(tmp_path / out)


def test_show_data_writes_pdf_and_tells_errors_without_a_traceback(shown, tmp_path):
    assert shown("--out", str(tmp_path / "page.pdf")).returncode == 0
    assert (tmp_path / "page.pdf").read_bytes()[:5] == b"%PDF-"
    done = shown("--out", str(tmp_path / "page.tar"))
    assert (done.returncode, "Traceback" in done.stderr) == (2, False)
    assert "--columns: '0': give a whole number, at least 1" in shown("--columns", "0").stderr


def test_names_that_utf8_cannot_hold_are_escaped_on_the_page(tmp_path):
    record = Record(id="caf\udce9.jpg", image=np.zeros((30, 40, 3), np.uint8), captions={"alt": "half \ud83d a pair"})
    text = write(page([record], about="one"), tmp_path / "page.html").read_text(encoding="utf-8")
    assert r"caf\udce9.jpg" in text
    assert r"half \ud83d a pair" in text
