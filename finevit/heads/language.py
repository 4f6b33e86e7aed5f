"""The head of the alignment stage: next-token prediction of answers (paper, Stage III)."""

from mmengine.model import BaseModule
from pydantic import NonNegativeFloat
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from finevit.contracts import AlignmentLLM, Head
from finevit.packing.dialogues import answer_loss, supervised
from finevit.packing.packs import PackedDialogues
from finevit.registry import MODELS


@MODELS.register_module()
class LanguageHead(BaseModule, Head):
    """Cross-entropy of answers: each answer's mean over its tokens, then the mean over the answers of the batch.

    Logits exist for supervised tokens alone, and are computed once more in the backward pass instead of being kept.

    Args:
        weight: weight of the loss; a schedule can set it.
    """

    def __init__(self, *, weight: NonNegativeFloat = 1.0, init_cfg: dict | None = None) -> None:
        super().__init__(init_cfg)
        self.weight = weight

    def loss(self, hidden: Tensor, dialogues: PackedDialogues, llm: AlignmentLLM) -> dict[str, Tensor]:
        """``loss_language``, and ``token_accuracy``: the share of supervised tokens that would be written as they are."""
        index, answer = supervised(dialogues)
        labels = dialogues.tokens[index]
        loss, right = checkpoint(_predict, llm, hidden[index - 1], labels, answer, sum(dialogues.answers), use_reentrant=False)
        return {"loss_language": self.weight * loss, "token_accuracy": right}


def _predict(llm: AlignmentLLM, hidden: Tensor, labels: Tensor, answer: Tensor, count: int) -> tuple[Tensor, Tensor]:
    logits = llm.logits(hidden)
    return answer_loss(logits, labels, answer, count), (logits.detach().argmax(-1) == labels).float().mean()
