"""The records and abstract classes that the parts of FineViT agree on.

Axis legend of the whole project: ``images`` (in a pack), ``patches`` (of all images of a pack, one after the other), ``pixels``
(``3 * patch * patch`` values of one patch, ordered channel, row, column), ``dim`` (encoder width), ``text`` (tokens), ``embed``
(shared space), ``vocab``, ``regions``.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from torch import Tensor, nn

from finevit.hub.chat_templates import Chat, load_chat
from finevit.packing.packs import PackedDialogues, PackedImages, PackedTexts

PATCH = 14
"""Side of a patch in pixels unless ``model.backbone.patch`` says another (paper, section on the encoder)."""
SNAP = 28
"""Image sides are snapped to the nearest multiple of this many pixels, two patches of 14."""


class ImageBudget(NamedTuple):
    """How large an image may enter the encoder: ``pixels`` (area), ``square`` (ignore the aspect ratio)."""

    pixels: int
    square: bool = False


class SampleRequest(NamedTuple):
    """What the batch sampler asks the dataset for. It travels to the worker, so a schedule can act there.

    ``record`` is an index of the source, ``position`` the place in the endless training order: every random choice about
    the sample derives from it. ``scheduled`` are the values of this step's schedules, by transform and argument; what is not in it
    is as the transform's config says (:mod:`finevit.datasets.schedules`).
    """

    record: int
    position: int
    budget: ImageBudget
    scheduled: Mapping[str, Mapping[str, object]] = {}


class Question(NamedTuple):
    """One question about an image, with its true answer.

    ``task`` is the name of a registered task, such as ``text2box``. ``text`` and ``answer`` are what is read and written, boxes
    rendered in ``style``; ``size`` are height and width of the image as the model sees it, in pixels. ``boxes`` are the true boxes
    (canonical xyxy): the answer where a task ``answers_boxes``, as ``text2box``, else what the question names.
    ``strings`` are the answers that are accepted besides ``answer``.
    """

    task: str
    text: str
    answer: str
    boxes: tuple[tuple[float, float, float, float], ...] = ()
    strings: tuple[str, ...] = ()
    style: str = ""
    size: tuple[int, int] = (0, 0)


class EncoderOutput(NamedTuple):
    """``tokens [patches, dim]`` after the last norm, ``pooled [images, dim]``, and ``layers``: the requested block outputs
    ``[patches, dim]`` in the order of the request, each through the final norm."""

    tokens: Tensor
    pooled: Tensor
    layers: tuple[Tensor, ...] = ()


@dataclass(frozen=True)
class Region:
    """A part of an image: ``box`` is xyxy in [0, 1] of the whole upright image, origin top left, x2 and y2 exclusive.

    ``kind`` is ``object``, ``text_line`` or ``document``; ``phrase`` a short noun phrase; ``caption`` a region caption;
    ``text`` the string that is written there; ``class_id`` -1 where unknown.
    """

    box: tuple[float, float, float, float]
    kind: str = "object"
    phrase: str = ""
    caption: str = ""
    text: str = ""
    class_id: int = -1


@dataclass(frozen=True)
class Record:
    """One image with everything that is known of it.

    ``image`` holds encoded bytes (JPEG, PNG, ...) or an upright RGB array ``uint8 [height, width, 3]``. ``captions`` maps the name
    of a captioner (``long``, ``short``, ``alt``, a model's name) to its text; ``unread`` that of a caption whose text cannot be
    read, and is empty, to the reason; ``shared`` that of one that is dropped because many images share it. ``label_map`` is an
    optional ``int16 [height, width]`` of class ids, -1 for background; ``instance_map`` likewise of indices into ``regions``.
    ``facts`` are further truths (counts, relations) as plain values. ``unplaced`` are regions whose box is impossible: what is said
    of them leaves no question about others a sure answer.
    """

    id: str
    image: bytes | np.ndarray
    captions: Mapping[str, str] = field(default_factory=dict)
    regions: tuple[Region, ...] = ()
    label_map: np.ndarray | None = None
    instance_map: np.ndarray | None = None
    facts: Mapping[str, object] = field(default_factory=dict)
    unread: Mapping[str, str] = field(default_factory=dict)
    unplaced: tuple[Region, ...] = ()
    shared: Mapping[str, str] = field(default_factory=dict)


class BadSample(ValueError):
    """A sample that cannot be used: the message names the sample, what is wrong with it, and is counted, never fatal."""


class Source(ABC):
    """A finite, random-access collection of records; a dataset turns them into training samples.

    ``source[index]`` returns a ``Record`` or raises ``BadSample``. Sources are copied into worker processes.
    """

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def __getitem__(self, index: int) -> Record: ...

    @abstractmethod
    def describe(self) -> str:
        """One line for people: what this is and how many records it has."""

    def size(self, index: int) -> tuple[int, int] | None:
        """Height and width of an upright image in pixels, told without decoding it; None where that cannot be done.

        Balanced batches are planned from it (``NativeBatchSampler.balance``).
        """
        return None

    def name(self, index: int) -> str:
        """What a record is called, told without reading it; the same as long as the record is there."""
        return str(index)


class ImageEncoder(nn.Module, ABC):
    """A vision transformer over packs of images of any size: what every stage trains as ``model.backbone``.

    ``dim`` is the width of its tokens, ``depth`` the number of its blocks, ``patch`` the side of a patch in pixels.
    Exports and OpenMMLab's detectors, segmenters and classifiers know FineViT alone.
    """

    dim: int
    depth: int
    patch: int

    @abstractmethod
    def forward(
        self, images: PackedImages, *, layers: Sequence[int] = (), replace: tuple[Tensor, Tensor] | None = None
    ) -> EncoderOutput:
        """``layers`` asks for outputs of further blocks (0 is the first, -1 the last), each through the last norm; ``replace`` is
        ``(mask [patches] bool, token [dim])``: masked patches enter as the token (Stage I). Images do not see each other."""

    @abstractmethod
    def get_layer_depth(self, param_name: str, prefix: str = "") -> tuple[int, int]:
        """Layer of a parameter (0 is the embedding) and the number of layers, for learning rates that fall layer by layer."""


class Teacher(nn.Module, ABC):
    """A frozen vision model whose patch features a student learns to predict (paper, Stage I).

    ``patch`` is the teacher's patch side in pixels, ``dim`` the width of its features. Parameters never need gradients. The caller
    resizes images so that the teacher's grid equals the student's.
    """

    patch: int
    dim: int

    @abstractmethod
    def features(self, images: Tensor) -> Tensor:
        """``images [n, 3, rows * patch, cols * patch]``, RGB in [0, 1] -> ``[n, rows * cols, dim]``, raster order.

        The teacher applies its own mean and standard deviation.
        """

    @abstractmethod
    def describe(self) -> str:
        """One line for people: which model, from where, which layers."""


class TextEncoder(nn.Module, ABC):
    """A tower that turns texts into one vector each (paper, Stage II).

    ``dim`` is the width of its vectors, ``context`` the most tokens of a text that it can read, ``tokenizer`` the name or folder
    with which :func:`finevit.hub.tokenizers.load_tokenizer` finds its tokenizer: the loader's workers tokenise with the same one.
    ``vocab`` is the number of token ids that it embeds.
    """

    dim: int
    context: int
    tokenizer: str
    vocab: int

    @abstractmethod
    def forward(self, texts: PackedTexts) -> Tensor:
        """``[texts, dim]``: one vector for each text, before any projection or normalisation."""

    @abstractmethod
    def describe(self) -> str:
        """One line for people: which model, from where, how large."""


class Connector(nn.Module, ABC):
    """From the encoder's tokens to those that a language model reads (paper, Stage III).

    A stage builds it with ``dim``, the width of the encoder, and ``llm_dim``, that of the language model's embeddings.
    """

    @abstractmethod
    def forward(self, tokens: Tensor, images: PackedImages) -> Tensor:
        """``[patches, dim]`` of whole images -> ``[visual, llm_dim]``, image after image."""

    @abstractmethod
    def visual(self, images: PackedImages) -> list[int]:
        """Visual tokens of each image."""


class Head(nn.Module, ABC):
    """From tokens and vectors to losses.

    A stage builds it with the widths that it reads: ``dim`` and ``target_dim`` (Stage I), ``image_dim`` and ``text_dim`` (II).
    Stage I also calls ``features(tokens)`` and ``observed(target)``, which its validation compares; Stage II ``embed_images`` and
    ``embed_texts``, whose unit vectors ``loss`` gets (``finevit.heads.contrastive.ContrastiveHead`` has them).
    """

    @abstractmethod
    def loss(self, *outputs: Any) -> dict[str, Tensor]:
        """Losses under names that begin with ``loss_``; what else is in it is logged. The arguments are the stage's."""


class ResolutionSchedule(ABC):
    """A pure function of the step: which budget an image of that training step gets."""

    @abstractmethod
    def __call__(self, step: int) -> ImageBudget: ...


class AlignmentLLM(nn.Module, ABC):
    """A causal language model that reads projected visual features (paper, Stage III).

    ``dim`` is the width of its embeddings, ``context`` the most positions of a dialogue, ``tokenizer`` the name or folder of its
    tokenizer and chat template: the loader's workers use the same ones.
    """

    dim: int
    context: int
    tokenizer: str

    @property
    def chat(self) -> Chat:
        """Its tokenizer and chat template, loaded once."""
        return load_chat(self.tokenizer)

    @abstractmethod
    def embed(self, tokens: Tensor) -> Tensor:
        """``[text]`` token ids -> ``[text, dim]``."""

    @abstractmethod
    def forward(self, embeddings: Tensor, dialogues: PackedDialogues) -> Tensor:
        """``[text, dim]`` -> ``[text, dim]``: what predicts the next token. Attention is causal, within an image's part, and reads
        from a segment only that segment and the prefix; positions are ``dialogues.position_ids``."""

    @abstractmethod
    def logits(self, hidden: Tensor) -> Tensor:
        """``[n, dim]`` outputs of ``forward`` -> ``[n, vocab]``."""

    @abstractmethod
    def generate(self, prompts: Sequence[Tensor], *, max_new_tokens: int, stop: int) -> list[list[int]]:
        """Greedy answers to embedded prompts ``[length, dim]``: at most ``max_new_tokens`` ids each, without ``stop``."""

    @abstractmethod
    def describe(self) -> str:
        """One line for people: which model, from where, how large, what of it is trained."""
