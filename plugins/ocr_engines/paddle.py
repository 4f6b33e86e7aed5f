"""PaddleOCR 3: its pipeline in a process of its own, which is replaced after so many pictures because it leaks memory.

Written for the results that PaddleOCR 3 documents, and tested on recorded ones: the package and its weights could not be had where
this was written, so it was not run.
"""

import multiprocessing
import os
import threading
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from multiprocessing.process import BaseProcess
from typing import Annotated, Any

import numpy as np
from annotated_types import Ge, Le
from pydantic import PositiveInt

from finevit.contracts import BadSample
from finevit.recaption.contracts import OK, Answer, OCREngine, OCRRequest
from finevit.signatures import Fraction

from .quads import from_the_text, line, on_its_side, tightened

_DOWN = 1
"""What the classifier of lines calls one that stands on its head."""


class PaddleOCREngine(OCREngine):
    """PaddleOCR's general pipeline, without its steps that bend or turn the whole picture: quads stay in the picture's frame.

    Args:
        detection: name of a detector of PaddleOCR.
        recognition: name of a recogniser.
        box_score: the detector's least confidence in a line.
        tighten: share of a line's height by which each side of its box moves inwards (see ``RapidOCREngine``).
        upside_down: whether lines may stand on their heads.
        device: ``cpu``, ``gpu:0``, ...; None: PaddleOCR chooses.
        threads: of a CPU.
        restart_every: pictures that a process reads.
    """

    def __init__(
        self,
        *,
        detection: str = "PP-OCRv5_server_det",
        recognition: str = "PP-OCRv5_server_rec",
        box_score: Fraction = 0.6,
        tighten: Annotated[float, Ge(0), Le(0.4)] = 0.16,
        upside_down: bool = False,
        device: str | None = None,
        threads: PositiveInt = 1,
        restart_every: PositiveInt = 200,
    ) -> None:
        try:
            self.model = f"{detection}+{recognition}@paddleocr-{version('paddleocr')}"
        except PackageNotFoundError:
            raise ValueError(
                "PaddleOCREngine needs PaddleOCR: pip install 'paddleocr>=3' paddlepaddle, or use RapidOCREngine"
            ) from None
        self.box_score, self.tighten, self.upside_down, self.restart_every = box_score, tighten, upside_down, restart_every
        names = {"text_detection_model_name": detection, "text_recognition_model_name": recognition, "device": device}
        steps = {"use_doc_orientation_classify": False, "use_doc_unwarping": False, "use_textline_orientation": upside_down}
        limits = {"text_det_box_thresh": box_score, "text_rec_score_thresh": 0.0, "cpu_threads": threads}
        self._arguments = tuple({**names, **steps, **limits}.items())
        self._process: ProcessPoolExecutor | None = None

    def settings(self) -> Mapping[str, Any]:
        """Thresholds and the correction of boxes."""
        return {"box_score": self.box_score, "tighten": self.tighten, "upside_down": self.upside_down}

    def answer(self, request: OCRRequest) -> Answer:
        """The lines that were read."""
        started = time.perf_counter()
        try:
            pixels = request.picture.pixels()
        except BadSample as error:
            return Answer("unreadable", detail=str(error))
        try:
            found = self._reading().submit(_read, self._arguments, np.ascontiguousarray(pixels[..., ::-1])).result()
        except BrokenProcessPool:
            self._process = None
            return Answer("connection", detail="the process of PaddleOCR died", seconds=time.perf_counter() - started)
        value = list(lines(found, pixels.shape[1], pixels.shape[0], self.tighten))
        return Answer(OK, value, seconds=time.perf_counter() - started)

    def _reading(self) -> ProcessPoolExecutor:
        if self._process is None:
            apart = multiprocessing.get_context("spawn")
            self._process = ProcessPoolExecutor(1, apart, initializer=_end_with_parent, max_tasks_per_child=self.restart_every)
        return self._process


def lines(found: Mapping[str, Any], width: int, height: int, tighten: float) -> Iterator[dict[str, Any]]:
    """The lines of a result of PaddleOCR 3 for a picture of this size: what is empty is left out."""
    texts, polygons = found["rec_texts"], found["rec_polys"]
    angles = found["angles"] if len(found["angles"]) == len(texts) else [0] * len(texts)
    for text, score, polygon, angle in zip(texts, found["rec_scores"], polygons, angles, strict=True):
        if text.strip():
            quad = np.asarray(polygon, np.float64)
            turned = from_the_text(tightened(quad, tighten), on_its_side=on_its_side(quad), upside_down=angle == _DOWN)
            yield line(text.strip(), score, turned, width, height)


def _read(arguments: tuple[tuple[str, Any], ...], pixels: np.ndarray) -> dict[str, Any]:
    """In the process: the parts of a result that are read, as plain lists."""
    (result,) = _pipeline(arguments).predict(pixels)
    angles = np.asarray(result.get("textline_orientation_angles", ())).tolist()
    return {**{name: np.asarray(result[name]).tolist() for name in ("rec_texts", "rec_scores", "rec_polys")}, "angles": angles}


@cache
def _pipeline(arguments: tuple[tuple[str, Any], ...]) -> Any:
    """The one instance of the process."""
    from paddleocr import PaddleOCR

    return PaddleOCR(**dict(arguments))


def _end_with_parent() -> None:
    """In the process: it ends where the one that asks was killed."""
    if parent := multiprocessing.parent_process():
        threading.Thread(target=_end_after, args=(parent,), daemon=True).start()


def _end_after(parent: BaseProcess) -> None:
    parent.join()
    os._exit(1)
