"""OCR engines: what is read, where it stands, pages told from scenes; RapidOCR for real, PaddleOCR on recorded results."""

import io
import json
from pathlib import Path

import numpy as np
import pytest
import skimage
from finevit_plugins.ocr_engines.paddle import PaddleOCREngine, lines
from finevit_plugins.ocr_engines.quads import from_the_text, tightened
from finevit_plugins.ocr_engines.rapid import RapidOCREngine
from PIL import Image, ImageDraw, ImageFont

from benchmarks.ocr import measure
from benchmarks.ocr.drawn import PAGES, drawn, embedded, labelled, page
from finevit.datasets.decoding.images import decode
from finevit.plugins import load_plugins
from finevit.recaption.checking import check_ocr_engine
from finevit.recaption.contracts import OCRRequest, Picture
from finevit.recaption.documents import is_document, layout
from finevit.recaption.quality import looks_like_document
from finevit.scenes.text_rendering import font_folder


def picture(pixels, box=None):
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return Picture("drawn", file.getvalue, box)


@pytest.fixture(scope="module")
def rapid():
    return RapidOCREngine()


def written(text, size=40, face="DejaVuSans.ttf"):
    """Black on white, and the box of the ink."""
    font = ImageFont.truetype(str(font_folder() / face), size)
    image = Image.new("RGB", (int(font.getlength(text)) + 80, 3 * size), "white")
    ImageDraw.Draw(image).text((40, size), text, "black", font)
    pixels = np.asarray(image)
    rows, columns = np.nonzero(pixels.min(2) < 128)
    return pixels, (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)


def read(engine, pixels, box=None):
    answer = engine.answer(OCRRequest(picture(pixels, box)))
    assert answer.status == "ok", answer
    return answer.value


def extent(line, pixels):
    quad = np.array(line["quad"]).reshape(4, 2) * (pixels.shape[1], pixels.shape[0])
    return np.concatenate([quad.min(0), quad.max(0)])


def test_rapidocr_keeps_the_contract(rapid):
    check_ocr_engine(rapid)


def test_lines_are_read_where_they_stand(rapid):
    for text in ("Harbor Street 2025", "Überfluß naïve café"):
        pixels, ink = written(text)
        (line,) = read(rapid, pixels)
        assert line["text"] == text
        assert line["score"] > 0.9
        assert np.abs(extent(line, pixels) - ink).max() < 8


def test_a_part_is_read_in_its_own_frame(rapid):
    pixels, ink = written("Marble 77")
    page = np.full((600, 900, 3), 255, np.uint8)
    page[300 : 300 + pixels.shape[0], 400 : 400 + pixels.shape[1]] = pixels
    (whole,), (part,) = read(rapid, page), read(rapid, page, (0.4, 0.4, 1.0, 1.0))
    assert whole["text"] == part["text"] == "Marble 77"
    shown = np.full((360, 540, 3), 0)
    assert np.abs(extent(whole, page) - extent(part, shown) - (360, 240, 360, 240)).max() < 6
    assert np.abs(extent(whole, page) - np.add(ink, (400, 300, 400, 300))).max() < 8


def test_corners_begin_where_the_text_begins():
    pixels, _ = written("Quiet Meadow")
    engine = RapidOCREngine(upside_down=True)
    for turns, corner in ((0, (0, 0)), (3, (1, 0)), (2, (1, 1))):  # upright, read from top to bottom, on its head
        turned = np.ascontiguousarray(np.rot90(pixels, turns))
        (line,) = read(engine, turned)
        assert line["text"] == "Quiet Meadow"
        first = np.array(line["quad"][:2])
        others = np.array(line["quad"][2:]).reshape(3, 2)
        assert np.abs(first - corner).sum() < np.abs(others - corner).sum(1).min()


def test_nothing_is_read_where_nothing_is_written(rapid):
    for pixels in (np.full((200, 300, 3), 255, np.uint8), np.zeros((9, 9, 3), np.uint8), np.full((700, 40, 3), 90, np.uint8)):
        assert read(rapid, pixels) == []


def test_small_and_large_pictures_are_read_at_other_sizes():
    pixels, ink = written("Lantern", size=60)
    huge = np.asarray(Image.fromarray(pixels).resize((pixels.shape[1] * 8, pixels.shape[0] * 8)))
    (line,) = read(RapidOCREngine(max_side=512), huge)
    assert line["text"] == "Lantern"
    assert np.abs(extent(line, huge) / 8 - ink).max() < 10
    tiny, ink = written("Lotus", size=12)
    (line,) = read(RapidOCREngine(min_side=72, enlarge=2), tiny)
    assert line["text"] == "Lotus"
    assert np.abs(extent(line, tiny) - ink).max() < 4
    keys = {
        RapidOCREngine(**given).key(OCRRequest(picture(tiny)))
        for given in ({}, {"max_side": 512}, {"tighten": 0.1}, {"threads": 2})
    }
    assert len(keys) == 3, "threads do not decide an answer"


def test_models_are_loaded_anew_and_read_the_same(monkeypatch):
    engine, loaded = RapidOCREngine(restart_every=2), []
    parameters = engine._parameters
    monkeypatch.setattr(engine, "_parameters", lambda: loaded.append(1) or parameters())
    pixels, _ = written("Copper 9")
    answers = [json.dumps(read(engine, pixels)) for _ in range(3)]
    assert len(set(answers)) == 1
    assert len(loaded) == 2


def test_quads_move_inwards_and_turn():
    box = np.array([[10, 20], [110, 20], [110, 40], [10, 40]], float)
    assert np.allclose(tightened(box, 0.25), [[15, 25], [105, 25], [105, 35], [15, 35]])
    slanted = box @ np.array([[0.8, 0.6], [-0.6, 0.8]])
    assert np.allclose(tightened(slanted, 0.25), tightened(box, 0.25) @ np.array([[0.8, 0.6], [-0.6, 0.8]]))
    named = np.array([["tl"], ["tr"], ["br"], ["bl"]])
    assert from_the_text(named, on_its_side=True, upside_down=False).ravel().tolist() == ["tr", "br", "bl", "tl"]
    assert from_the_text(named, on_its_side=False, upside_down=True).ravel().tolist() == ["br", "bl", "tl", "tr"]


RECORDED = {
    "rec_texts": ["登机牌", "", "BOARDING"],
    "rec_scores": [0.98, 0.2, 0.91],
    "rec_polys": [
        [[10, 10], [90, 10], [90, 30], [10, 30]],
        [[0, 0], [9, 0], [9, 9], [0, 9]],
        [[100, 50], [180, 50], [180, 70], [100, 70]],
    ],
    "angles": [-1, -1, -1],
}


def test_results_of_paddleocr_become_lines():
    found = list(lines(RECORDED, 200, 100, 0.0))
    assert [(line["text"], line["score"]) for line in found] == [("登机牌", 0.98), ("BOARDING", 0.91)]
    assert found[1]["quad"] == [0.5, 0.5, 0.9, 0.5, 0.9, 0.7, 0.5, 0.7]
    turned = list(lines({**RECORDED, "angles": [0, 0, 1]}, 200, 100, 0.0))
    assert turned[1]["quad"] == [0.9, 0.7, 0.5, 0.7, 0.5, 0.5, 0.9, 0.5]
    assert list(lines({"rec_texts": [], "rec_scores": [], "rec_polys": [], "angles": []}, 200, 100, 0.1)) == []


PADDLE = """
import os
import numpy

class PaddleOCR:
    count = 0

    def __init__(self, **given):
        PaddleOCR.count += 1
        assert PaddleOCR.count == 1 and given["use_doc_unwarping"] is False and given["text_rec_score_thresh"] == 0.0, given

    def predict(self, pixels):
        if pixels.shape[1] == 13:
            os._exit(9)
        box = [[0, 0], [pixels.shape[1], 0], [pixels.shape[1], 20], [0, 20]]
        texts = {"rec_texts": [f"{os.getpid()} {pixels[0, 0].tolist()}"], "rec_scores": numpy.array([0.5])}
        return [{**texts, "rec_polys": numpy.array([box], dtype=numpy.int16), "textline_orientation_angles": numpy.array([-1])}]
"""


def test_paddleocr_reads_in_a_process_that_is_replaced(tmp_path, monkeypatch):
    with pytest.raises(ValueError, match=r"pip install 'paddleocr>=3' paddlepaddle"):
        PaddleOCREngine()
    (tmp_path / "paddleocr.py").write_text(PADDLE)
    (tmp_path / "paddleocr-3.2.0.dist-info").mkdir()
    (tmp_path / "paddleocr-3.2.0.dist-info/METADATA").write_text("Metadata-Version: 2.1\nName: paddleocr\nVersion: 3.2.0\n")
    monkeypatch.syspath_prepend(tmp_path)
    engine = PaddleOCREngine(restart_every=2)
    assert engine.model.endswith("@paddleocr-3.2.0")
    pixels = np.full((40, 200, 3), (10, 20, 30), np.uint8)
    texts = [read(engine, pixels)[0]["text"] for _ in range(3)]  # two processes
    pids, colours = zip(*(text.split(" ", 1) for text in texts), strict=True)
    assert pids[0] == pids[1] != pids[2]
    assert set(colours) == {"[30, 20, 10]"}, "PaddleOCR reads BGR"
    assert engine.answer(OCRRequest(picture(pixels[:, :13]))).status == "connection"


def sheet(count, height):
    return [{"text": "x", "quad": [0.1, y, 0.9, y, 0.9, y + height, 0.1, y + height]} for y in np.linspace(0, 0.9, count)]


def test_pages_are_told_by_lines_and_paper():
    assert layout(sheet(4, 0.02)) == (4, pytest.approx(0.064))
    assert is_document(sheet(4, 0.02), hint=True)
    assert not is_document(sheet(4, 0.02), hint=False)
    assert not is_document(sheet(2, 0.02), hint=True)
    assert is_document(sheet(30, 0.02), hint=False), "so much text needs no paper"
    assert not is_document([], hint=True)


def test_pages_and_photographs_of_scikit_image_are_told_apart(rapid):
    folder = Path(skimage.__file__).parent / "data"
    told = {}
    for name in ("page.png", "text.png", "coffee.png", "horse.png"):
        pixels = decode(folder.joinpath(name).read_bytes(), name=name)
        told[name] = is_document(read(rapid, pixels), hint=looks_like_document(pixels))
    assert [name for name, document in told.items() if document] == ["page.png", "text.png"]


def scores(images, tmp_path, executor):
    load_plugins()
    measure.write(images, tmp_path / "images")
    found = measure.read(tmp_path / "images", tmp_path / "run", engine={"type": "RapidOCREngine"}, executor=executor)
    return [measure.score(each, *found[number]) for number, each in enumerate(images)]


def recall(found, *, pages):
    own = [each for each in found if (each.group == PAGES) == pages]
    return sum(each.read for each in own) / sum(each.words for each in own)


def told(found):
    return np.mean([each.document == (each.group == PAGES) for each in found])


def test_pages_and_scenes_are_read_through_the_pipeline(tmp_path):
    images = [page(6), page(334), labelled(13), labelled(29), embedded(0, "signs"), embedded(2, "signs")]
    found = scores(images, tmp_path, {"type": "Serial"})
    assert recall(found, pages=True) >= 0.9
    assert recall(found, pages=False) >= 0.9
    assert told(found) == 1
    assert sum(each.extra for each in found) <= 2, "nothing is read where nothing is written"
    short = measure.score(images[0], [], False)
    assert (short.read, short.ious[0], short.extra) == (0, 0.0, 0), "what is not read does not count"


@pytest.mark.slow
def test_two_hundred_pages_and_scenes_are_read_and_told_apart(tmp_path):
    found = scores(list(drawn(200, first=1000)), tmp_path, {"type": "ProcessPool", "workers": 2})
    assert recall(found, pages=True) >= 0.98
    assert recall(found, pages=False) >= 0.9
    assert told(found) >= 0.98
    assert np.mean([value >= measure.RIGHT for each in found for value in each.ious]) >= 0.95
