"""Stage III: a language model reads the encoder's tokens and answers; the encoder learns through it (paper, Stage III)."""

from collections.abc import Sequence
from typing import Any

import torch
from pydantic import PositiveInt
from torch import Tensor

from finevit.contracts import AlignmentLLM, Connector, EncoderOutput, Head
from finevit.packing.dialogues import prompts
from finevit.packing.packs import IMAGE_TOKEN, PackedDialogues, PackedImages
from finevit.registry import MODELS
from finevit.stages.base import Stage, build_part

TOGETHER = 64
"""At most so many answers are generated at once."""


@MODELS.register_module()
class LLMAlignment(Stage):
    """Autoregressive answers about projected visual tokens.

    Args:
        backbone: config of the image encoder.
        connector: config of the connector; ``dim`` and ``llm_dim`` come from its neighbours.
        llm: config of an :class:`~finevit.contracts.AlignmentLLM`, by the name that a plugin gave it.
        head: config of the head.
        backbone_frozen: whether the encoder is kept as it is; a schedule can set it.
        connector_frozen: the same of the connector.
        llm_frozen: the same of the language model (of its adapters too, where it is trained by LoRA).
        answer_length: the most tokens of a generated answer.
        data_preprocessor: config of the preprocessor.
    """

    title = "III, LLM alignment"
    switches = {"backbone": "backbone_frozen", "connector": "connector_frozen", "llm": "llm_frozen"}

    def __init__(
        self,
        *,
        backbone: dict,
        connector: dict,
        llm: dict,
        head: dict | None = None,
        backbone_frozen: bool = False,
        connector_frozen: bool = False,
        llm_frozen: bool = False,
        answer_length: PositiveInt = 64,
        data_preprocessor: dict | None = None,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(backbone=backbone, data_preprocessor=data_preprocessor, init_cfg=init_cfg)
        self.llm = build_part("llm", llm, AlignmentLLM, "alignment LLM")
        widths = {"dim": self.backbone.dim, "llm_dim": self.llm.dim}
        self.connector = build_part("connector", {**connector, **widths}, Connector, "connector")
        self.head = build_part("head", head or {"type": "LanguageHead"}, Head, "head")
        self.backbone_frozen, self.connector_frozen, self.llm_frozen = backbone_frozen, connector_frozen, llm_frozen
        self.answer_length = answer_length

    def forward(
        self,
        images: PackedImages,
        dialogues: PackedDialogues | None = None,
        mode: str = "tensor",
        **extra: Any,
    ) -> dict[str, Tensor] | EncoderOutput | list[dict]:
        """``loss``: the losses; ``tensor``: the image encoder's output; ``predict``: see :meth:`predict`."""
        if mode == "tensor":
            return self.backbone(images)
        if dialogues is None:
            remedy = "use the transforms AskQuestions and TokenizeDialogue and the collate function finevit.pack_dialogues"
            raise ValueError(f"LLMAlignment: the batches have no dialogues; {remedy}")
        return self.loss(images, dialogues) if mode == "loss" else self.predict(images, dialogues, **extra)

    def loss(self, images: PackedImages, dialogues: PackedDialogues) -> dict[str, Tensor]:
        """Losses of one batch."""
        self.freeze()
        return self.head.loss(self.llm(self.embed(images, dialogues), dialogues), dialogues, self.llm)

    def embed(self, images: PackedImages, dialogues: PackedDialogues) -> Tensor:
        """``[text, dim]``: what the language model reads, visual tokens in their places.

        Raises ``ValueError`` where an image has more or fewer places than visual tokens.
        """
        check_places(dialogues.visual, self.connector.visual(images))
        here = dialogues.tokens == IMAGE_TOKEN
        words = self.llm.embed(dialogues.tokens.masked_fill(here, 0))
        visual = self.connector(self.backbone(images).tokens, images)
        index = (here.cumsum(0) - 1).clamp(min=0)  # the backward pass of masked_scatter waits for the device
        return torch.where(here[:, None], visual.to(words.dtype).index_select(0, index), words)

    @torch.no_grad()
    def predict(self, images: PackedImages, dialogues: PackedDialogues, **extra: Any) -> list[dict]:
        """Per image: ``predictions``, a generated answer to each of its questions, and the batch's further entries."""
        asked = prompts(self.embed(images, dialogues), dialogues)
        predictions = iter(self.answer(asked))
        return [
            {"predictions": [next(predictions) for _ in range(answers)], **{key: value[i] for key, value in extra.items()}}
            for i, answers in enumerate(dialogues.answers)
        ]

    @torch.no_grad()
    def answer(self, prompts: Sequence[Tensor]) -> list[str]:
        """Generated answers to embedded prompts ``[length, dim]``, a group of them at a time.

        An answer is as long as the context lets it be; a prompt that leaves it no room for all its tokens is answered by itself.
        """
        rooms = [min(self.answer_length, self._room(prompt)) for prompt in prompts]
        roomy = [index for index, room in enumerate(rooms) if room == self.answer_length]
        groups = [roomy[start : start + TOGETHER] for start in range(0, len(roomy), TOGETHER)]
        groups += [[index] for index, room in enumerate(rooms) if room < self.answer_length]
        said: dict[int, str] = {}
        for group in groups:
            answers = self.llm.generate(
                [prompts[index] for index in group], max_new_tokens=rooms[group[0]], stop=self.llm.chat.closing
            )
            said.update(zip(group, map(self.llm.chat.decode, answers), strict=True))
        return [said[index] for index in range(len(prompts))]

    def _room(self, prompt: Tensor) -> int:
        """Tokens that the language model's context leaves for an answer."""
        room = self.llm.context - len(prompt)
        if room < 1:
            raise ValueError(
                f"a prompt of {len(prompt)} tokens fills the language model's {self.llm.context}; lower dataset.max_seq_len"
            )
        return room

    def describe(self) -> list[str]:
        """What is trained here, for people."""
        return [*super().describe(), f"language model: {self.llm.describe()}"]


def check_places(places: Sequence[int], visual: Sequence[int]) -> None:
    """``ValueError`` names the first image whose places in the dialogue are not as many as its visual tokens."""
    for image, (here, there) in enumerate(zip(places, visual, strict=True)):
        if here != there:
            raise ValueError(
                f"image {image} of the batch: {here} places for {there} visual tokens; "
                "dialogues are to be made of the image's final grid: TokenizeDialogue comes after Patchify, without DropPatches"
            )
