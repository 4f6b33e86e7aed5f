"""Words: which can be written, in which fonts, and how they become sprites."""

from collections.abc import Callable
from functools import cache, lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from finevit.scenes.rng import Dice

_ENGLISH = """
able above acorn actor after again amber angle apron arch army atlas autumn baker basin beach berry bird blue board
boat bold book brave bread brick bridge bright broad brook brush cabin cable calm camp canal candle card castle cedar
chair chalk charm cheese cherry city clay clear cliff clock cloud coast cobalt coffee copper coral corner cotton
country cream creek crown daily dance dawn deep delta desert diamond dinner dock dollar double dream drift driver
early earth east echo eight elder ember empty engine evening exit fabric falcon famous farm fern field fine fire first
flame flint flower focus forest forty fox fresh friend frost fruit garden gate gentle giant glass globe gold grain
grand granite grape gravel green grove guide hall hammer harbor harvest hazel heart hello hidden high hill holiday
honey horizon hotel house hundred icon idea indigo inlet iron island ivory jacket jade jazz jewel journey juice july
jump june jungle juniper kettle kind kite ladder lake lantern large laurel leaf lemon letter level light lily linen
lion little local lotus lucky lunar magic magnet maple marble market meadow melody metal middle midnight milk mint
mirror model modern moment moon morning motor mountain music narrow nature nectar needle nine noble north novel number
oak ocean office olive open orange orbit orchard origin oxide paint palace palm paper park pearl pebble pepper piano
pilot pine planet plaza plum pocket polar pond poppy port prairie prism proud public purple quartz quick quiet quilt
rabbit radio rain range rapid raven record reef ribbon ridge river road robin rocket rose royal ruby sail salt sand
school season second secret seven shadow shell shine silver simple sister sixty sky slate slow smart smile snow soft
solar sound south spark spice spring square stage star station steel stone store storm stream street sugar summer
sunny supper swift table tango tea temple ten thank thirty three thunder ticket tiger timber tower town trail train
travel tree tulip twelve twenty umber uncle under union upper urban valley velvet venture village violet violin vista
voice wagon walnut warm water wave welcome west wheat wheel white wild willow wind window winter wolf wonder wood
world yard year yellow young zebra zenith zero zone
"""
WORDS = tuple(_ENGLISH.split())
"""What scenes write."""
_SIGNS = """
bird boat bread cake camp clock coast dance echo farm field fox gate gold hotel jazz king lake light moon north open park queen
river salt taxi up view wolf yard zoo
"""

FONTS = {
    "sans-serif": "DejaVuSans.ttf",
    "bold sans-serif": "DejaVuSans-Bold.ttf",
    "slanted sans-serif": "DejaVuSans-Oblique.ttf",
    "serif": "DejaVuSerif.ttf",
    "bold serif": "DejaVuSerif-Bold.ttf",
    "italic serif": "DejaVuSerif-Italic.ttf",
    "monospaced": "DejaVuSansMono.ttf",
    "bold monospaced": "DejaVuSansMono-Bold.ttf",
}
"""Fonts by the words captions use for them; the files come with matplotlib."""

INKS = {"black": (16, 16, 20), "white": (250, 250, 248), "red": (190, 24, 30), "blue": (24, 56, 170)}
"""Ink colours. Black, red and blue stand on a pale plate, white on a dark one."""


class Script(NamedTuple):
    """What a level writes, and how: ``cases`` are functions of a string."""

    words: tuple[str, ...]
    fonts: tuple[str, ...] = tuple(FONTS)
    cases: tuple[Callable[[str], str], ...] = (str.lower, str.title, str.upper)


SCRIPTS = {"any": Script(WORDS), "signs": Script(tuple(_SIGNS.split()), ("bold sans-serif",), (str.upper,))}
"""``any``: hundreds of words in every font. ``signs``: 32 short words in bold CAPITALS, as little as can be called reading."""


_FAINT = 48
"""A pixel that differs from the plate by more than this is ink."""


class Writing(NamedTuple):
    """One line of text: what, how, and the height of its font in pixels."""

    text: str
    font: str
    ink: str
    height: int


def draw_writing(dice: Dice, height: float, words: int, script: Script) -> Writing:
    """A random line of a script."""
    text = " ".join(dice.pick(script.words) for _ in range(words))
    case = dice.pick(script.cases)
    return Writing(case(text), dice.pick(script.fonts), dice.pick(tuple(INKS)), max(11, round(height / 2) * 2))


@lru_cache(4096)
def measure(writing: Writing) -> tuple[int, int]:
    """Width and height in pixels of the plate a line stands on."""
    left, top, right, bottom = _font(writing.font, writing.height).getbbox(writing.text)
    pad = _pad(writing)
    return int(right - left) + 2 * pad, int(bottom - top) + 2 * pad


def letter(writing: Writing) -> tuple[np.ndarray, tuple[int, int, int, int]]:
    """The line on its opaque plate, ``uint8 [h, w, 3]``, and the box of its ink (x2, y2 exclusive)."""
    from PIL import Image, ImageDraw

    font, pad = _font(writing.font, writing.height), _pad(writing)
    left, top, _, _ = font.getbbox(writing.text)
    size = measure(writing)
    plate = (38, 38, 44) if writing.ink == "white" else (246, 244, 236)
    image = Image.new("RGB", size, plate)
    ImageDraw.Draw(image).text((pad - left, pad - top), writing.text, INKS[writing.ink], font)
    pixels = np.asarray(image)
    ink = cv2.absdiff(pixels, np.full_like(pixels, plate)).max(axis=2) > _FAINT
    x, y, wide, high = cv2.boundingRect(ink.view(np.uint8))
    return pixels, (x, y, x + wide, y + high)


def _pad(writing: Writing) -> int:
    return max(2, writing.height // 5)


@cache
def _font(name: str, height: int):
    from PIL import ImageFont

    return ImageFont.truetype(str(font_folder() / FONTS[name]), height)


@cache
def font_folder() -> Path:
    """Where matplotlib keeps its fonts; found without importing it."""
    found = find_spec("matplotlib")
    if found is None or found.origin is None:
        raise ValueError("Scenes write words with the fonts of matplotlib, which is not installed: `pip install matplotlib`.")
    return Path(found.origin).parent / "mpl-data" / "fonts" / "ttf"
