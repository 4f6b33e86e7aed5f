"""The real images of a run: captions of a manual's figures, copies with texts of their own."""

import io
from pathlib import Path

from PIL import Image

from benchmarks.real_run.fetch import PARTS, figures, keep, photographs

PAGE = """
<div class="figure"><p class="title"><strong>Figure&nbsp;17.312.&nbsp;An <span class="quote">“<b>example</b>”</span> of
  Tile &amp; Seamless.</strong></p><div class="figure-contents">
  <div class="mediaobject"><img src="images/a.jpg" alt="x" /><div class="caption"><p>Original</p></div></div>
  <div class="mediaobject"><img src="images/b.png" alt="x" /></div></div></div><br class="figure-break" />
<div class="mediaobject"><img src="images/icon.png" /></div>
<div class="figure"><div class="mediaobject"><img src="images/c.png" /><div class="caption">Alone</div></div></div>
<br class="figure-break" />
"""


def test_figures_of_a_manual_have_their_titles_as_captions():
    title = "An “example” of Tile & Seamless"
    assert list(figures(PAGE)) == [("images/a.jpg", f"{title}. Original"), ("images/b.png", f"{title}."), ("images/c.png", "Alone")]


def test_each_image_has_a_text_of_its_own(tmp_path):
    file = io.BytesIO()
    Image.new("RGB", (2, 2)).save(file, "PNG")
    source = tmp_path / "source"
    source.write_bytes(file.getvalue())
    counts = keep(iter([("x/a.jpg", source, "first"), ("x/a.png", source, "second"), ("b.png", source, "")]), tmp_path / "out")
    assert counts == {"images": 3, "captions": 2}
    texts = {path.relative_to(tmp_path / "out").as_posix(): path.read_text() for path in (tmp_path / "out").rglob("*.txt")}
    assert texts == {"x/a.txt": "first\n", "x/a-2.txt": "second\n"}
    assert (tmp_path / "out/x/a-2.png").read_bytes() == file.getvalue()
    assert {part.package.registry for part in PARTS} == {"debian"}


def test_photographs_are_those_of_installed_packages():
    found = list(photographs())
    assert len(found) >= 25
    assert all(Path(image).is_file() for _, image, _ in found)
    assert {"skimage-page.png", "sklearn-china.jpg"} <= {name for name, _, _ in found}
