"""The pages of runs as people meet them: in Chromium, wide and narrow, light and dark, with mouse and keyboard."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Browser, Page, sync_playwright
from sample_pages import stage1_page, stage2_page, stage3_page

from finevit.visualization.report import write

BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
REMEDY = "no Chromium on this machine: apt-get install chromium"
QUIET = ["--disable-gpu", "--disable-quic", "--disable-sync"]
PATIENCE = 180_000.0  # milliseconds: a busy machine takes its time
FAINT = """() => {
  const channels = colour => colour.match(/[0-9.]+/g).map(Number);
  const light = ([r, g, b]) => {
    const [x, y, z] = [r, g, b].map(v => v / 255).map(v => v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
    return 0.2126 * x + 0.7152 * y + 0.0722 * z;
  };
  const behind = element => {
    for (let at = element; at; at = at.parentElement) {
      const colour = channels(getComputedStyle(at).backgroundColor);
      if (colour.length === 3 || colour[3] === 1) return colour;
    }
    return [255, 255, 255];
  };
  const words = [...document.body.querySelectorAll("*")].filter(
    element => [...element.childNodes].some(node => node.nodeType === 3 && node.textContent.trim()));
  return words.filter(element => {
    const [low, high] = [channels(getComputedStyle(element).color), behind(element)].map(light).sort((a, b) => a - b);
    return (high + 0.05) / (low + 0.05) < 4.5;
  }).map(element => element.outerHTML.slice(0, 80));
}"""
"""Elements whose text has less contrast than WCAG asks of small type."""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    if BROWSER is None:
        (pytest.fail if os.environ.get("FINEVIT_BROWSER") == "required" else pytest.skip)(REMEDY)
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=BROWSER, args=QUIET, timeout=PATIENCE)
        yield chromium
        chromium.close()


@pytest.fixture(scope="module", params=[stage1_page, stage2_page, stage3_page], ids=["stage1", "stage2", "stage3"])
def report(request, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("page")
    return write(request.param(folder), folder / "report.html")


def opened(browser: Browser, report: Path, *, width: int = 1200, scheme: str = "light") -> tuple[Page, list[str]]:
    """The page in a window of its own, and everything that went wrong or was loaded besides."""
    faults: list[str] = []
    page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
    page.set_default_timeout(PATIENCE)
    page.on("console", lambda message: faults.append(message.text))
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on("request", lambda request: None if request.url.startswith("data:") else faults.append(request.url))
    page.goto(report.as_uri())
    assert faults.pop(0) == report.as_uri()
    return page, faults


@pytest.mark.parametrize(("width", "scheme"), [(1200, "light"), (390, "dark"), (390, "light"), (1200, "dark")])
def test_page_is_whole_and_legible(browser, report, width, scheme):
    page, faults = opened(browser, report, width=width, scheme=scheme)
    assert faults == []
    assert page.evaluate("[...document.images].every(image => image.complete && image.naturalWidth > 0 && image.alt)")
    assert page.evaluate("document.images.length") >= 14
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert (
        page.evaluate("getComputedStyle(document.body).backgroundColor")
        == {"light": "rgb(251, 251, 249)", "dark": "rgb(18, 21, 28)"}[scheme]
    )
    assert page.evaluate(FAINT) == []
    page.close()


def test_page_shows_pictures_and_charts(browser, report, tmp_path):
    page, _ = opened(browser, report)
    page.screenshot(path=tmp_path / "shot.png")
    pixels = np.asarray(Image.open(tmp_path / "shot.png").convert("RGB"))
    assert pixels.shape[1] == 1200
    assert len(np.unique(pixels.reshape(-1, 3), axis=0)) > 500
    sizes = page.evaluate("""[...document.querySelectorAll('.card svg, .card img')].filter(e => e.checkVisibility())
        .map(e => e.getBoundingClientRect()).map(b => [b.width, b.height])""")
    assert min(min(size) for size in sizes) > 20
    page.close()


def test_config_and_captions_unfold_by_mouse_and_keyboard(browser, report):
    page, _ = opened(browser, report, width=390)
    config = page.locator("details", has_text="The resolved configuration")
    assert not config.locator("pre").is_visible()
    config.locator("summary").click()
    assert config.locator("pre").is_visible()
    captions = page.locator("details.caption:visible")
    assert bool(captions.count()) == page.title().endswith("II")
    for index in range(min(2, captions.count())):
        summary = captions.nth(index).locator("summary")
        folded = summary.bounding_box()["height"]
        assert folded < 50
        summary.focus()
        page.keyboard.press("Enter")
        assert summary.bounding_box()["height"] > folded
        assert page.evaluate("document.documentElement.scrollWidth") <= 390
    page.close()


@pytest.fixture(scope="module")
def answers(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("answers")
    return write(stage3_page(folder), folder / "report.html")


LINES = """article => { const image = article.querySelector('img').getBoundingClientRect();
  return [...article.querySelectorAll('rect.over')].map(rect => { const at = rect.getBoundingClientRect();
    return [rect.classList[0], (at.x - image.x) / image.width, (at.y - image.y) / image.height, at.right - image.x, image.width];
  }); }"""
"""The boxes over an image: kind, left and upper edge in shares of the image, right edge and width of the image in pixels."""


@pytest.mark.parametrize("width", [1200, 420])
def test_boxes_lie_over_their_image(browser, answers, width):
    page, faults = opened(browser, answers, width=width)
    wrong = page.locator("article.answer", has_text="Where is the sun?").first
    (true, left, top, right, wide), said = wrong.evaluate(LINES)
    assert (true, said[0]) == ("true", "predicted")
    assert (left, top, right / wide) == pytest.approx((0.25, 0.1, 0.55), abs=0.01)
    assert said[1:3] == pytest.approx([0.25, 0.5], abs=0.01)
    whole = page.locator(".whole").first
    asked = whole.locator("li", has_text="Where is the sun?")
    frames = [whole.locator(".frame").first.bounding_box(), asked.locator(".frame").bounding_box()]
    assert list(frames[0].values()) == pytest.approx(list(frames[1].values()), abs=0.5)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert faults == []
    page.close()


@pytest.mark.parametrize("width", [1200, 420])
def test_tasks_unfold_and_a_question_shows_its_boxes_alone(browser, answers, width):
    page, faults = opened(browser, answers, width=width)
    tasks = page.locator("details.task")
    assert [tasks.nth(index).locator(".answers").is_visible() for index in range(3)] == [True, False, False]
    for index in range(1, tasks.count()):
        tasks.nth(index).locator("summary").first.press("Enter")
        assert tasks.nth(index).locator(".answer").first.is_visible()
    verdicts = tasks.nth(3).locator(".verdict b").all_inner_texts()
    assert (verdicts[0], verdicts[-1]) == ("✗ no number in the answer", "✓ right")
    shown = "list => list.map(frame => getComputedStyle(frame).opacity).filter(opacity => opacity === '1').length"
    whole = page.locator(".whole").first
    everything = whole.locator(".frame.over").evaluate_all(shown)
    whole.locator("li", has_text="What is written in").first.focus()
    assert (everything > 1, whole.locator(".frame.over").evaluate_all(shown)) == (True, 1)
    whole.locator("li", has_text="Where is the sun?").evaluate("element => element.focus()")
    assert whole.locator("li:focus rect.predicted.over").count() == 1
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.evaluate(FAINT) == []
    assert faults == []
    page.close()
