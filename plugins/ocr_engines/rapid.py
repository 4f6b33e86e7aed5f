"""RapidOCR: PP-OCR's detector and recogniser on ONNX Runtime, with the models that its package brings."""

import time
from collections.abc import Iterator, Mapping
from importlib.metadata import version
from typing import Annotated, Any

import cv2
import numpy as np
from annotated_types import Ge, Le
from pydantic import NonNegativeInt, PositiveInt

from finevit.contracts import BadSample
from finevit.recaption.contracts import OK, Answer, OCREngine, OCRRequest
from finevit.signatures import Fraction

from .quads import from_the_text, line, on_its_side, tightened

_GRID = 32
"""Sides that the detector takes are multiples of this: it would stretch others."""
_LARGEST = 2**20
"""More than any side: the detector itself shall not resize."""


class RapidOCREngine(OCREngine):
    """PP-OCRv6 small of the package ``rapidocr``: nothing is downloaded. On one kind of processor a picture is always read alike.

    Args:
        min_side: pictures whose shorter side has fewer pixels are enlarged to it, at most ``enlarge`` times.
        enlarge: see ``min_side``.
        max_side: pictures whose longer side has more pixels are reduced to it.
        box_score: the detector's least confidence in a line.
        tighten: share of a line's height by which each side of its box moves inwards. The detector's boxes have a margin, which
            the recogniser needs: 0.13 of the box around lines of print, 0.2 around a word; 0.16 lets both fit their ink.
        upside_down: whether a classifier looks for lines that stand on their heads. It also turns long lines that do not (8 % of
            the words of printed pages were lost by it).
        threads: of ONNX Runtime; workers side by side are faster.
        restart_every: after so many pictures the models are loaded anew, so that memory stays what it was; 0: never.
    """

    operational = frozenset({"threads", "restart_every"})

    def __init__(
        self,
        *,
        min_side: NonNegativeInt = 128,
        enlarge: Annotated[float, Ge(1)] = 2.0,
        max_side: Annotated[int, Ge(_GRID)] = 2048,
        box_score: Fraction = 0.5,
        tighten: Annotated[float, Ge(0), Le(0.4)] = 0.16,
        upside_down: bool = False,
        threads: PositiveInt = 1,
        restart_every: NonNegativeInt = 1000,
    ) -> None:
        self.min_side, self.enlarge, self.max_side, self.box_score = min_side, enlarge, max_side, box_score
        self.tighten, self.upside_down, self.threads, self.restart_every = tighten, upside_down, threads, restart_every
        self.model = f"PP-OCRv6_small@rapidocr-{version('rapidocr')}"
        self._reader: Any = None
        self._count = 0

    def settings(self) -> Mapping[str, Any]:
        """Sizes, thresholds and the correction of boxes."""
        names = ("min_side", "enlarge", "max_side", "box_score", "tighten", "upside_down")
        return {name: getattr(self, name) for name in names}

    def answer(self, request: OCRRequest) -> Answer:
        """The lines that were read, from top to bottom."""
        started = time.perf_counter()
        try:
            pixels = request.picture.pixels()
        except BadSample as error:
            return Answer("unreadable", detail=str(error))
        value = list(self._lines(pixels))
        return Answer(OK, value, seconds=time.perf_counter() - started)

    def _lines(self, pixels: np.ndarray) -> Iterator[dict[str, Any]]:
        scaled = self._scaled(pixels)
        height, width = scaled.shape[:2]
        padded = cv2.copyMakeBorder(scaled, 0, -height % _GRID, 0, -width % _GRID, cv2.BORDER_REPLICATE)
        found, turns, read, _ = self._loaded().run_ocr_steps(np.ascontiguousarray(padded[..., ::-1]), {})
        if found.boxes is None or read.txts is None:
            return
        turned = turns.cls_res or [("0", 1.0)] * len(read.txts)
        for box, (label, sure), text, score in zip(found.boxes, turned, read.txts, read.scores, strict=True):
            if text.strip():
                down = label == "180" and sure > self._reader.cfg.Cls.cls_thresh
                quad = tightened(np.asarray(box, np.float64), self.tighten)
                yield line(text.strip(), score, from_the_text(quad, on_its_side=on_its_side(box), upside_down=down), width, height)

    def _scaled(self, pixels: np.ndarray) -> np.ndarray:
        """The picture at the size at which it is read."""
        short, long = sorted(pixels.shape[:2])
        scale = min(max(1.0, min(self.enlarge, self.min_side / short)), self.max_side / long)
        if scale == 1:
            return pixels
        size = [max(1, round(side * scale)) for side in pixels.shape[1::-1]]
        return np.asarray(cv2.resize(pixels, size, interpolation=cv2.INTER_CUBIC if scale > 1 else cv2.INTER_AREA))

    def _loaded(self) -> Any:
        """The models, loaded once in so many pictures."""
        from rapidocr import RapidOCR

        if self._reader is None or (self.restart_every and self._count % self.restart_every == 0):
            self._reader = None  # the old ones go first
            self._reader = RapidOCR(params=self._parameters())
        self._count += 1
        return self._reader

    def _parameters(self) -> dict[str, Any]:
        threads = {f"EngineConfig.onnxruntime.{name}_op_num_threads": self.threads for name in ("intra", "inter")}
        sizes = {"Global.use_preprocess_img": False, "Global.use_vertical_padding": False, "Det.limit_type": "max"}
        models = {"Det.limit_side_len": _LARGEST, "Det.box_thresh": self.box_score, "Global.use_cls": self.upside_down}
        return {"Global.log_level": "critical", **threads, **sizes, **models}
