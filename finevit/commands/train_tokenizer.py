"""Train a compact byte-level BPE tokenizer on captions and save it as a folder that every text encoder can name.

    finevit train-tokenizer --size 1024 --out finevit/scenes/tokenizer
    finevit train-tokenizer --size 1024 --chat --out finevit/scenes/chat_tokenizer
    finevit train-tokenizer --data-root data/tuxpaint --size 4096 --out data/tokenizer

The first two lines made the tokenizers ``scenes`` and ``scenes-chat``, and make them again byte for byte: captions of training
scenes that no experiment of this repository reports on. The third takes a folder of captioned images.
"""

import argparse
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import IO, Any

from finevit.boxes import fault_of_box, render
from finevit.contracts import BadSample, Source
from finevit.engine.cli import user_errors
from finevit.storage.durable import write_file
from finevit.storage.places import check_writable, writing
from finevit.tasks.task import asked_tasks

PAD, START, END = "<pad>", "<s>", "</s>"
ROLES = ("<|system|>", "<|user|>", "<|assistant|>")
CLOSING = "<|end|>"
TEMPLATE = (
    "{% for message in messages %}{{ '<|' + message['role'] + '|>' + message['content'] + '<|end|>' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)
BOXES = "bins100"
"""The style that gets tokens of its own for what stands between two numbers."""
SCENES = {"easy": range(50_000, 53_000), "medium": range(50_000, 51_500)}


def parse_arguments() -> argparse.Namespace:
    """Flags in the manner of the other tools."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-root", help="captioned images, as for finevit train; the embedded scenes where omitted")
    parser.add_argument("--size", type=int, default=1024, help="number of ids, 259 at least (default: %(default)s)")
    parser.add_argument("--chat", action="store_true", help="for dialogues: a chat template, upper and lower case, single digits")
    parser.add_argument("--out", type=Path, required=True, help="folder to write")
    return parser.parse_args()


def texts(data_root: str | None, *, chat: bool) -> Iterator[str]:
    """All captions of the images under ``data_root``, or of some embedded training scenes; ``chat`` adds boxes and questions."""
    from finevit.datasets.readers.open import open_source
    from finevit.scenes.source import Scenes

    if data_root:
        source = open_source(data_root=data_root)
        yield from _told(source, range(len(source)), chat)
    else:
        for level, indices in SCENES.items():
            yield from _told(Scenes(level=level, split="train"), indices, chat)


def _told(source: Source, indices: range, chat: bool) -> Iterator[str]:
    for index in indices:
        try:
            record = source[index]
        except BadSample as error:
            print(f"left out: {error}")
            continue
        yield from record.captions.values()
        if chat:
            boxes = [region.box for region in record.regions if not fault_of_box(region.box)]
            yield from (render([box], BOXES, (1, 1)) for box in boxes)  # of no use to a style of hundredths
            yield from (each.format(about="", box="") for task in asked_tasks().values() for each in task.templates)


def train(told: Iterator[str], size: int, out: Path, *, chat: bool = False) -> int:
    """Train on what is ``told``, write ``out``, return how many ids there are."""
    from tokenizers import Tokenizer, decoders, models, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.decoder = decoders.ByteLevel()
    (_set_for_chat if chat else _set_for_captions)(tokenizer)
    special = [PAD, *ROLES, CLOSING] if chat else [PAD, START, END]
    trainer = trainers.BpeTrainer(vocab_size=size, special_tokens=special, initial_alphabet=_alphabet(), show_progress=False)
    tokenizer.train_from_iterator(told, trainer)
    if chat:
        saved = PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token=PAD, eos_token=CLOSING, chat_template=TEMPLATE)
    else:
        _add_start(tokenizer)
        saved = PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token=PAD, bos_token=START, eos_token=END)
    save(saved, out)
    return tokenizer.get_vocab_size()


def save(tokenizer: Any, out: Path) -> None:
    """Writes a tokenizer's files into the folder ``out``, each of them whole or not at all."""
    with TemporaryDirectory() as draft:
        tokenizer.save_pretrained(draft)
        for file in sorted(Path(draft).iterdir()):
            with writing(f"--out {str(out)!r}"):
                write_file(out / file.name, partial(_copy, file))


def _copy(file: Path, target: IO[bytes]) -> None:
    target.write(file.read_bytes())


def _set_for_captions(tokenizer: Any) -> None:
    from tokenizers import normalizers, pre_tokenizers

    tokenizer.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase()])
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)


def _set_for_chat(tokenizer: Any) -> None:
    from tokenizers import pre_tokenizers

    digits = pre_tokenizers.Digits(individual_digits=True)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([digits, pre_tokenizers.ByteLevel(add_prefix_space=False)])


def _alphabet() -> list[str]:
    from tokenizers import pre_tokenizers

    return pre_tokenizers.ByteLevel.alphabet()


def _add_start(tokenizer: Any) -> None:
    """A text begins with the start token."""
    from tokenizers import processors

    start = (START, tokenizer.token_to_id(START))
    tokenizer.post_processor = processors.TemplateProcessing(single=f"{START} $A", special_tokens=[start])


def main() -> None:
    """Train and say what came out."""
    args = parse_arguments()
    with user_errors():
        if args.size < 259:
            raise ValueError(f"--size {args.size}: 256 bytes and 3 special tokens need 259 ids at least")
        check_writable(args.out, setting="--out", remedy="give another folder")
        print(f"{args.out}: {train(texts(args.data_root, chat=args.chat), args.size, args.out, chat=args.chat)} ids")
