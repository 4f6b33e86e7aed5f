"""Engines of recaptioning whose answers are a function of the image and the request, for tests; no model, no network."""

import hashlib
import os
import time

from finevit.recaption.contracts import Answer, Captioner, Grounder, OCREngine, PhraseExtractor, Price
from finevit.registry import ENGINES

NOUNS = ("red ball", "blue cup", "green tree", "old dog", "small cat", "wooden chair", "yellow car", "tall lamp")


def numbers(*told):
    """Bytes that depend on what is told alone."""
    return hashlib.sha256("\0".join(map(str, told)).encode()).digest()


@ENGINES.register_module()
class SampleCaptioner(Captioner):
    """Names three things a picture; asked of a part, the suffix's first noun."""

    def __init__(self, *, model: str = "sample@1", lie: float = 0.0) -> None:
        self.model, self.price = model, Price(prompt=1.0, completion=2.0)

    def settings(self):
        return {}

    def answer(self, request):
        picked = numbers(self.model, request.prompt, *request.identity[-1])
        nouns = [NOUNS[each % len(NOUNS)] for each in picked[: 3 if len(request.pictures) == 1 else 1]]
        text = f"There is a {' and a '.join(nouns)} here."
        return Answer("ok", text, finish_reason="stop", prompt_tokens=100, completion_tokens=len(text.split()))


@ENGINES.register_module()
class SampleExtractor(PhraseExtractor):
    """Finds the nouns that the captioner knows."""

    model = "nouns@1"

    def __init__(self) -> None:
        pass

    def settings(self):
        return {}

    def answer(self, request):
        spans = {(start, start + len(noun)) for noun in NOUNS for start in [request.text.find(noun)] if start >= 0}
        return Answer("ok", sorted(map(list, spans)))


@ENGINES.register_module()
class SampleGrounder(Grounder):
    """A box for each phrase, by the noun in it."""

    model = "boxes@1"

    def __init__(self) -> None:
        pass

    def settings(self):
        return {}

    def answer(self, request):
        found = []
        for index, phrase in enumerate(request.phrases):
            for noun in NOUNS:
                if noun in phrase:
                    x, y, score = numbers(request.picture.sample_id, noun)[:3]
                    box = [x / 512, y / 512, x / 512 + 0.3, y / 512 + 0.4]
                    found.append({"phrase": index, "box": box, "score": 0.2 + 0.8 * score / 255})
        return Answer("ok", found)


@ENGINES.register_module()
class SampleOCR(OCREngine):
    """One line in each picture."""

    model = "lines@1"

    def __init__(self) -> None:
        pass

    def settings(self):
        return {}

    def answer(self, request):
        return Answer("ok", [{"text": "EXIT", "score": 0.9, "quad": [0.1, 0.1, 0.3, 0.1, 0.3, 0.2, 0.1, 0.2]}])


@ENGINES.register_module()
class PaidCaptioner(SampleCaptioner):
    """Writes the key of each request that it is paid for into a file, waits, and answers."""

    operational = frozenset({"bill", "seconds"})

    def __init__(self, *, bill: str, seconds: float = 0.02, model: str = "sample@1") -> None:
        super().__init__(model=model)
        self.bill, self.seconds = bill, seconds

    def key(self, request):
        return SampleCaptioner.key(self, request)

    def answer(self, request):
        with open(self.bill, "a", encoding="ascii") as file:
            file.write(f"{self.key(request)}\n")
        time.sleep(self.seconds)
        return super().answer(request)


@ENGINES.register_module()
class DeadlyCaptioner(SampleCaptioner):
    """Ends its process where it sees an image."""

    def __init__(self, *, sample: str) -> None:
        super().__init__()
        self.sample = sample

    def answer(self, request):
        if request.pictures[0].sample_id == self.sample:
            os._exit(9)
        return super().answer(request)
