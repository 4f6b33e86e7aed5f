"""Global captions by several captioners (paper: three MLLMs for Stage II, to avoid one model's bias; one for the regions)."""

from collections.abc import Iterator, Mapping
from typing import Annotated, Any

from annotated_types import MinLen

from finevit.recaption.contracts import OK, Captioner, CaptionRequest
from finevit.recaption.passes.base import SELECTS, Inputs, Output, Pass, engine_of, kept
from finevit.recaption.passes.index import caption_row
from finevit.recaption.prompts import DENSE
from finevit.registry import PASSES
from finevit.shards.schema import table


@PASSES.register_module()
class GlobalCaptions(Pass):
    """Each captioner answers each prompt about each image that is no document.

    Args:
        captioners: name -> config of a captioner.
        prompts: name, the ``prompt_id`` -> text.
    """

    name = "captions"
    reads = ("index",)
    uses = (*SELECTS[1:], "ocr")
    asks = True

    def __init__(self, *, captioners: Annotated[Mapping[str, dict], MinLen(1)], prompts: Mapping[str, str] | None = None) -> None:
        self.captioners, self.prompts = captioners, prompts or {"dense": DENSE}

    def process_shard(self, inputs: Inputs) -> Output:
        """The table ``captions``."""
        images, rows = kept(inputs, kind="photo"), []
        total = len(images) * len(self.captioners) * len(self.prompts)
        for name, config in self.captioners.items():
            engine = engine_of(f"passes.captions.captioners.{name}", config, Captioner)
            answers = inputs.ask(engine, self._requests(inputs, images), total=total)
            for (sample, prompt), answer in answers.items():
                request = CaptionRequest(self.prompts[prompt], (inputs.picture(sample),))
                rows.append(
                    caption_row(
                        sample,
                        engine.model,
                        answer.status,
                        answer.value if answer.status == OK else None,
                        prompt_id=prompt,
                        finish_reason=answer.finish_reason,
                        attempts=answer.attempts,
                        request_key=engine.key(request),
                        detail=answer.detail or None,
                    )
                )
        return Output({"captions": table("captions", rows)}, inputs.statuses)

    def _requests(self, inputs: Inputs, images: list[str]) -> Iterator[tuple[Any, CaptionRequest]]:
        """Image by image, so that the prompts of one share its prefix in the server's cache."""
        for sample in images:
            for prompt, text in self.prompts.items():
                yield (sample, prompt), CaptionRequest(text, (inputs.picture(sample),))
