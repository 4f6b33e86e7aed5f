"""A checkpoint of Stage III that answers the requests of a server."""

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.device import get_device

from finevit.config.loading import load
from finevit.config.own_data import LOADERS
from finevit.config.recorded import check_answers
from finevit.config.refusals import refusals
from finevit.contracts import BadSample, ImageBudget, Question
from finevit.datasets.dataset import PIXELS
from finevit.datasets.transforms.dialogue_transforms import TokenizeDialogue
from finevit.datasets.transforms.image_transforms import Patchify, ResizeToBudget
from finevit.hub.weights import check_fit, read_checkpoint, weights_of
from finevit.packing.collate import pack_dialogues
from finevit.packing.dialogues import prompts
from finevit.precision import bfloat16_helps
from finevit.registry import MODELS, TRANSFORMS
from finevit.serving.messages import Answer
from finevit.stages import LLMAlignment


class CheckpointAnswerer:
    """Answers one question about one image at a time, greedily.

    Args:
        model: the stage, in evaluation mode.
        name: what clients call it.
        budget: area to which larger images are reduced, and whether they become square.
        resize: what does that.
        limit: the most tokens of image, question and the first of the answer.
    """

    def __init__(self, *, model: LLMAlignment, name: str, budget: ImageBudget, resize: ResizeToBudget, limit: int) -> None:
        self.model, self.name, self.budget, self.limit, self.resize = model, name, budget, limit, resize
        self.tokenize = TokenizeDialogue(tokenizer=model.llm.tokenizer, together=False)

    @torch.inference_mode()
    def answer(self, image: np.ndarray, prompt: str, max_tokens: int) -> Answer:
        """The answer to ``prompt`` about ``image`` (RGB ``uint8 [height, width, 3]``); ``BadSample`` where they are too long."""
        batch = self.model.data_preprocessor(self._batch(image, prompt))
        device = batch["images"].pixels.device.type
        with torch.autocast(device, dtype=torch.bfloat16, enabled=bfloat16_helps()):
            (asked,) = prompts(self.model.embed(batch["images"], batch["dialogues"]), batch["dialogues"])
            most = min(max_tokens, self.model.llm.context - len(asked))
            (ids,) = self.model.llm.generate([asked], max_new_tokens=most, stop=self.model.llm.chat.closing)
        return Answer(self.model.llm.chat.decode(ids), len(asked), len(ids), "length" if len(ids) == most else "stop")

    def _batch(self, image: np.ndarray, prompt: str) -> dict[str, Any]:
        sample: dict[str, Any] = {
            "id": "the request", "image": image, "label_map": None, "budget": self.budget, "max_seq_len": self.limit,
            "counts": Counter(), "skipped": [],
        }  # fmt: skip
        if not prompt.strip():
            raise BadSample("the request asks nothing: give a text part")
        seen = Patchify(patch=self.model.backbone.patch)(self.resize(sample))
        return pack_dialogues([self.tokenize({**seen, "questions": [Question("global_caption", prompt, "")]})])


def load_answerer(config: str, checkpoint: str) -> CheckpointAnswerer:
    """The model of a config with the weights of a checkpoint; ``ValueError`` where they do not belong together.

    Images have the pixels, and image and question the length, of the config's validation set.
    """
    cfg = load(config, unused=LOADERS)
    remedy = "serve it with the config that it was trained with"
    content = read_checkpoint(checkpoint, setting="checkpoint", remedy="give one of Stage III")
    check_answers(checkpoint, content.get("meta"))
    weights = weights_of(content)
    with refusals(cfg.to_dict()):
        model = MODELS.build(cfg.model)
    if not isinstance(model, LLMAlignment):
        raise ValueError(f"{config}: model.type={cfg.model.type!r} answers no questions; give the config of a Stage III")
    check_fit(model.state_dict(), weights, where=f"checkpoint={checkpoint!r}", remedy=remedy)
    model.load_state_dict(weights)
    if not cfg.get("val_dataloader"):
        raise ValueError(f"{config}: val_dataloader is missing, which says how large images are; {remedy}")
    dataset = cfg.val_dataloader.dataset
    steps = [step for step in dataset.transforms if step["type"] == "ResizeToBudget"]
    return CheckpointAnswerer(
        model=model.to(get_device()).eval(),
        name=Path(checkpoint).stem,
        budget=ImageBudget(dataset.get("pixels", PIXELS), dataset.get("square", False)),
        resize=TRANSFORMS.build(steps[0]) if steps else ResizeToBudget(snap=2 * model.backbone.patch),
        limit=min(dataset.get("max_seq_len") or model.llm.context, model.llm.context),
    )
