"""Parts that people write themselves: the examples of the documentation keep their contracts; what lacks something is named."""

import re
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from finevit.backbones import FineViT
from finevit.config.loading import ConfigError, load_config
from finevit.config.options import Given
from finevit.config.validation import check_config
from finevit.contracts import AlignmentLLM, EncoderOutput, Head, ImageEncoder, Teacher
from finevit.registry import MODELS
from finevit.testing import check_image_encoder, check_resolution_schedule, check_teacher, random_pack

pytestmark = pytest.mark.usefixtures("plugins")

ROOT = Path(__file__).parents[1]
BLOCKS = re.findall(r"```python\n# (my_\w+)\.py.*?\n(.*?)```", (ROOT / "docs/plugins.md").read_text(), re.DOTALL)
STAGE1 = {"type": "MaskedDistillation", "head": {"type": "DistillationHead"}}
SMALL = {"type": "FineViT", "arch": {"depth": 1, "dim": 32, "heads": 2, "mlp_dim": 48}}


@pytest.fixture
def example(tmp_path, monkeypatch):
    """Writes an example of docs/plugins.md where it can be imported; forgets afterwards what it registered."""
    known = dict(MODELS.module_dict)
    monkeypatch.syspath_prepend(str(tmp_path))

    def put(name: str):
        (tmp_path / f"{name}.py").write_text(dict(BLOCKS)[name])
        return __import__(name)

    yield put
    for name in set(MODELS.module_dict) - set(known):
        del MODELS.module_dict[name]
    for name in dict(BLOCKS):
        sys.modules.pop(name, None)


def test_the_teacher_of_the_documentation_trains(example):
    kinds = example("my_teacher").finevit_teachers()
    check_teacher(kinds["MyTeacher"]())
    MODELS.register_module(name="MyTeacher", module=kinds["MyTeacher"])
    model = MODELS.build({**STAGE1, "backbone": SMALL, "teacher": {"type": "MyTeacher"}})
    images = random_pack([(2, 4), (4, 2)])
    losses = model.loss(images._replace(pixels=images.pixels.float()))
    sum(losses.values()).backward()
    assert model.backbone.embed.weight.grad.abs().max() > 0
    assert model.describe()[2] == "teacher: mine, 96 features"


def test_the_schedule_of_the_documentation_alternates(example):
    schedule = example("my_plugin").finevit_resolution_schedules()["Alternating"](sides=[224, 336])
    check_resolution_schedule(schedule)
    assert [schedule(step).pixels for step in range(3)] == [224**2, 336**2, 224**2]


def test_the_encoder_of_the_documentation_trains_out_of_a_config(example, tmp_path):
    example("my_encoder")
    config = tmp_path / "config.py"
    config.write_text(
        f"_base_ = [{str(ROOT / 'configs/finevit_tiny_stage1.py')!r}]\ncustom_imports = dict(imports=['my_encoder'])\n"
        "model = dict(backbone=dict(_delete_=True, type='MyEncoder'), teacher=dict(_delete_=True, type='RandomFeatureTeacher'))\n"
    )
    cfg = load_config(config)
    check_config(cfg)
    model = MODELS.build(cfg.model)
    check_image_encoder(model.backbone)
    images = random_pack([(2, 4), (4, 2)])
    sum(model.train().loss(images._replace(pixels=images.pixels.float())).values()).backward()
    assert model.backbone.blocks[0].weight.grad.abs().max() > 0
    assert "MyEncoder, 2 blocks of width 64" in model.describe()[1]


def test_an_option_imports_own_parts_too(example, tmp_path, monkeypatch):
    example("my_encoder")
    options = {"custom_imports.imports": "[my_encoder]", "model.backbone.type": "MyEncoder"}
    cfg = load_config(ROOT / "configs/finevit_tiny_stage1.py", Given(dict(reversed(options.items()))))
    check_config(cfg)
    assert cfg.model.backbone == {"type": "MyEncoder"}
    (tmp_path / "my_broken_part.py").write_text("import a_package_that_is_not_there\n")
    monkeypatch.syspath_prepend(tmp_path)
    for module, cause in (("my_absent_part", "my_absent_part"), ("my_broken_part", "a_package_that_is_not_there")):
        with pytest.raises(ConfigError, match=f"imports={module}: .*No module named '{cause}'.*; put the folder .* on PYTHONPATH"):
            load_config(ROOT / "configs/finevit_tiny_stage1.py", Given({"custom_imports.imports": module}))
        (tmp_path / "config.py").write_text(f"custom_imports = dict(imports=['{module}'])\n")
        with pytest.raises(ConfigError, match=f"(?s)config.py cannot be read: .*PYTHONPATH.*No module named '{cause}'"):
            load_config(tmp_path / "config.py")


class Faulty(FineViT):
    """Sees other images, or the pixels of masked patches, or gives its last layer without the norm."""

    fault = ""

    def encode(self, images, layers=(), replace=None):
        output = super().encode(images, layers, None if self.fault == "replace" else replace)
        if self.fault == "others":
            first = output.tokens[:1]
            return output._replace(tokens=output.tokens + first, layers=tuple(each + first for each in output.layers))
        return output._replace(layers=tuple(2 * each for each in output.layers)) if self.fault == "layers" else output


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("others", "images of a pack do not see each other"),
        ("replace", "replace: a masked patch"),
        ("layers", "the last norm"),
    ],
)
def test_the_check_of_encoders_finds_faults(fault, said):
    encoder = Faulty(arch=SMALL["arch"])
    check_image_encoder(encoder)
    encoder.fault = fault
    with pytest.raises(AssertionError, match=said):
        check_image_encoder(encoder)


@MODELS.register_module()
class ForeignNet(nn.Module):
    """A backbone as other libraries have them."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Linear(2, 2)


@MODELS.register_module()
class Forgetful(ImageEncoder):
    def __init__(self) -> None:
        super().__init__()
        self.dim = self.depth = 8

    def forward(self, images, *, layers=(), replace=None):
        return EncoderOutput(images.pixels, images.pixels)

    def get_layer_depth(self, param_name, prefix=""):
        return 0, 1


@MODELS.register_module()
class NarrowTeacher(Teacher):
    patch = 14

    def features(self, images):
        return images

    def describe(self):
        return "no width"


STAGES = {
    "MaskedDistillation": {"teacher": {"type": "RandomFeatureTeacher"}, "head": {"type": "DistillationHead"}},
    "ContrastiveLearning": {"text_encoder": {"type": "TextTransformer"}, "head": {"type": "SigmoidHead", "embed_dim": 8}},
    "LLMAlignment": {"connector": {"type": "MergeConnector"}, "llm": {"type": "PlainLLM"}},
}


@pytest.mark.parametrize("stage", STAGES)
def test_a_foreign_backbone_is_refused_with_what_it_lacks(stage):
    said = (
        r"model.backbone.type='ForeignNet' is no image encoder: ForeignNet does not derive from finevit.contracts.ImageEncoder, "
        r"and has no dim, depth, patch; derive it from that, or wrap it"
    )
    with pytest.raises(ValueError, match=said):
        MODELS.build({"type": stage, "backbone": {"type": "ForeignNet"}, **STAGES[stage]})
    said = r"model.backbone.type='Forgetful' lacks patch, which finevit.contracts.ImageEncoder asks for; set it in Forgetful"
    with pytest.raises(ValueError, match=said):
        MODELS.build({"type": stage, "backbone": {"type": "Forgetful"}, **STAGES[stage]})


def test_a_teacher_without_a_width_is_named():
    with pytest.raises(ValueError, match=r"model.teacher.type='NarrowTeacher' lacks dim, which finevit.contracts.Teacher asks for"):
        MODELS.build({**STAGE1, "backbone": SMALL, "teacher": {"type": "NarrowTeacher"}})


@MODELS.register_module()
class BareHead(Head):
    """Has what the contract asks for, and nothing of what a stage needs besides."""

    def __init__(self, *, dim: int = 0, target_dim: int = 0, image_dim: int = 0, text_dim: int = 0) -> None:
        super().__init__()

    def loss(self, *outputs):
        return {"loss_bare": outputs[0].sum()}


@pytest.mark.parametrize(
    ("stage", "methods"), [("MaskedDistillation", "features, observed"), ("ContrastiveLearning", "embed_images, embed_texts")]
)
def test_a_head_without_the_methods_of_its_stage_is_named(stage, methods):
    said = f"model.head.type='BareHead' has no method {methods}, which this stage calls; define it in BareHead"
    with pytest.raises(ValueError, match=said):
        MODELS.build({"type": stage, "backbone": SMALL, **STAGES[stage], "head": {"type": "BareHead"}})


@MODELS.register_module()
class FolderLLM(AlignmentLLM):
    """Takes its tokenizer from a folder that it is given."""

    def __init__(self, *, folder: str = "scenes-chat") -> None:
        super().__init__()
        self.dim, self.context, self.tokenizer = 8, 64, folder

    def embed(self, tokens):
        return torch.zeros(len(tokens), 8)

    def forward(self, embeddings, dialogues):
        return embeddings

    def logits(self, hidden):
        return hidden

    def generate(self, prompts, *, max_new_tokens, stop):
        return [[] for _ in prompts]

    def describe(self):
        return "none"


def test_a_tokenizer_that_only_the_built_model_knows_is_asked_for_by_name():
    options = {"model.llm.type": "FolderLLM"}
    names = [f"{loader}_dataloader.dataset.transforms.{place}.tokenizer" for loader, place in (("train", 3), ("val", 3))]
    said = (
        r"model.llm.type='FolderLLM' names no tokenizer before it is built, .* an attribute tokenizer = \"NAME_OR_FOLDER\".*; or "
        rf"name it by --cfg-options {names[0]}=NAME_OR_FOLDER {names[1]}=NAME_OR_FOLDER$"
    )
    with pytest.raises(ConfigError, match=said):
        check_config(load_config(ROOT / "configs/finevit_tiny_stage3.py", options))
    check_config(load_config(ROOT / "configs/finevit_tiny_stage3.py", options | dict.fromkeys(names, "scenes-chat")))


def test_a_class_attribute_or_default_is_enough(monkeypatch):
    monkeypatch.setattr(FolderLLM, "tokenizer", "scenes-chat", raising=False)
    cfg = load_config(ROOT / "configs/finevit_tiny_stage3.py", {"model.llm.type": "FolderLLM"})
    check_config(cfg)
    assert cfg.train_dataloader.dataset.transforms[3].tokenizer == "scenes-chat"


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("lr = 1e-3", "lr is no known setting here; a setting of that name is optim_wrapper.optimizer.lr; a variable of the "),
        ("seed = 3", "seed is no known setting here; a setting of that name is randomness.seed; a variable of the "),
        ("width = 3", "width is no known setting; known are activation_checkpointing, "),
        ("data = 'x'", r"data is no known setting \(did you mean 'data_root'\?\); a variable of the config file itself begins"),
    ],
)
def test_a_variable_of_a_config_without_an_underscore_is_to_be_renamed(line, said, tmp_path):
    config = tmp_path / "config.py"
    config.write_text(f"_base_ = [{str(ROOT / 'configs/finevit_tiny_stage2.py')!r}]\n{line}\n")
    with pytest.raises(ConfigError, match=said) as caught:
        check_config(load_config(config))
    assert f"rename it to _{line.split()[0]}" in str(caught.value)
    config.write_text(f"_base_ = [{str(ROOT / 'configs/finevit_tiny_stage2.py')!r}]\n_{line}\n")
    check_config(load_config(config))
