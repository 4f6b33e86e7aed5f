"""Engines of recaptioning that fail, refuse and say what would break a page, by a function of the image, for tests."""

from sample_engines import SampleGrounder, numbers

from finevit.recaption.contracts import Answer, Captioner
from finevit.registry import ENGINES


@ENGINES.register_module()
class OddCaptioner(Captioner):
    """Fails by the image, and quotes what nobody can read; its texts would break a page that does not escape them."""

    model = "stand-in-odd@1"

    def __init__(self) -> None:
        pass

    def settings(self):
        return {}

    def answer(self, request):
        if len(request.pictures) == 2:
            return Answer("ok", "The text.", prompt_tokens=20, completion_tokens=3)
        number = numbers(request.pictures[0].sample_id)[1] % 3
        if number < 2:
            return Answer(("timeout", "refused")[number], detail="<img src=x> went wrong", attempts=2)
        return Answer("ok", 'A <script>alert(1)</script> red ball beside "NOWHERE", and a blue cup.', prompt_tokens=100)


@ENGINES.register_module()
class OddGrounder(SampleGrounder):
    """The first phrase at the top left, the others at the bottom right."""

    def answer(self, request):
        corners = [[0.0, 0.0, 0.5, 0.5], *[[0.5, 0.5, 0.9, 0.9]] * (len(request.phrases) - 1)]
        return Answer("ok", [{"phrase": index, "box": box, "score": 0.9} for index, box in enumerate(corners)])
