"""Checkpoints that tests export, and how other libraries read the exports, where finevit cannot be imported."""

from pathlib import Path

import torch

from finevit.config.loading import load_config
from finevit.plugins import load_plugins
from finevit.registry import MODELS
from finevit.testing import fill

ROOT = Path(__file__).parents[1]
ARCH = {"depth": 3, "dim": 64, "heads": 4, "mlp_dim": 96}


def make_checkpoint(folder: Path, stage: int, text_encoder: dict | None = None) -> tuple[Path, torch.nn.Module]:
    """A checkpoint as tools/train.py leaves it, of random weights, and the model that is in it."""
    load_plugins()
    cfg = load_config(ROOT / f"configs/finevit_tiny_stage{stage}.py")
    cfg.model.backbone = {"type": "FineViT", "arch": ARCH, "pool": "attention" if stage == 2 else "mean"}
    if text_encoder:
        cfg.model.text_encoder = text_encoder
    model = MODELS.build(cfg.model)
    fill(model, scale=0.1)
    meta = {"cfg": cfg.pretty_text, "iter": 600, "seed": 0, "experiment_name": "tiny", "mmengine_version": "0"}
    folder.mkdir(exist_ok=True)
    torch.save({"meta": meta, "state_dict": model.state_dict()}, folder / "iter_600.pth")
    return folder / "iter_600.pth", model.eval()


def change(path: Path, folder: Path, edit) -> Path:
    """A copy of a checkpoint after an edit of its content."""
    content = torch.load(path, weights_only=False)
    edit(content)
    torch.save(content, folder / "changed.pth")
    return folder / "changed.pth"


READ = """
import json, sys, traceback
import torch
from pathlib import Path
sys.modules["finevit"] = sys.modules["mmengine"] = None  # importing them fails
folder = Path(sys.argv[1])
images = torch.load(folder / "images.pt")
results = {}
for name, code in json.loads((folder / "code.json").read_text()).items():
    space = {"folder": folder, "images": images, "torch": torch, "sys": sys, "json": json}
    try:
        with torch.no_grad():
            exec(code, space)
        results[name] = {"said": space.get("said"), "tokens": space.get("tokens"), "pooled": space.get("pooled")}
    except Exception:
        results[name] = {"error": traceback.format_exc()}
torch.save(results, folder / "results.pt")
"""
CODE = {
    "safetensors": """
import json
from safetensors import safe_open
sys.path.append(str(folder / "safetensors"))
from encoder_finevit import Encoder
with safe_open(folder / "safetensors/model.safetensors", "pt") as file:
    encoder = Encoder(**json.loads(file.metadata()["config"]))
    encoder.load_state_dict({key: file.get_tensor(key) for key in file.keys()})
outputs = [encoder.encode(image[None]) for image in images]
tokens, pooled = [o[0][0] for o in outputs], [o[1][0] for o in outputs]
sys.path.pop()
""",
    "hf": """
import numpy as np
from transformers import AutoImageProcessor, AutoModel
model = AutoModel.from_pretrained(folder / "hf", trust_remote_code=True)
outputs = [model(image[None], output_hidden_states=True) for image in images]
tokens, pooled = [o.last_hidden_state[0] for o in outputs], [o.pooler_output[0] for o in outputs]
patchify = sys.modules[type(model.encoder.pool).__module__].patchify
patches = torch.cat([patchify(image[None], 14)[0] for image in images])
packed = model(patches, grids=torch.tensor([[image.shape[1] // 14, image.shape[2] // 14] for image in images]))
processor = AutoImageProcessor.from_pretrained(folder / "hf", trust_remote_code=True)
rng = np.random.default_rng(0)
photos = [rng.integers(0, 256, size, dtype=np.uint8) for size in ((50, 70, 3), (300, 500, 3))]
said = {
    "packed": (packed.last_hidden_state, packed.pooler_output),
    "hidden": [len(o.hidden_states) for o in outputs],
    "last": max((model.encoder.norm(o.hidden_states[-1])[0] - t).abs().max() for o, t in zip(outputs, tokens)),
    "processed": dict(processor(photos)),
    "square": processor(photos, square=True, pixels=56 * 56)["pixel_values"].shape,
}
exec((folder / "hf_users.py").read_text(), globals())
""",
    "timm": """
import timm
sys.path.insert(0, str(folder / "timm"))
import timm_finevit
name = f"local-dir:{folder / 'timm'}"
model = timm.create_model(name, pretrained=True).eval()
maps = timm.create_model(name, pretrained=True, features_only=True, out_indices=(0, -1)).eval()
tokens = [model.forward_features(image[None])[0] for image in images]
pooled = [model(image[None])[0] for image in images]
again = timm.create_model(
    "finevit_custom", checkpoint_path=str(folder / "timm/model.safetensors"), depth=3, dim=64, heads=4, mlp_dim=96
).eval()
last, found = model.forward_intermediates(images[3][None], indices=2)
tuned = timm.create_model(name, pretrained=True, num_classes=5, global_pool="avg").eval()
logits = tuned(images[1][None]).shape
before = model.head_hidden_size, model.num_classes
model.reset_classifier(7)
said = {
    "maps": [[list(m.shape) for m in maps(image[None])] for image in images[:2]],
    "info": (maps.feature_info.channels(), maps.feature_info.reduction()),
    "pruned": sorted(n for n, _ in maps.named_parameters() if "norm." in n and "blocks" not in n),
    "again": (again(images[2][None])[0] - pooled[2]).abs().max(),
    "last": (last[0] - tokens[3]).abs().max(),
    "normed": (model.norm(found[1].flatten(2).transpose(1, 2))[0] - tokens[3]).abs().max(),
    "logits": [*logits, *model(images[0][None]).shape, *before],
    "large": timm.models.is_model("finevit_large"),
    "config": timm.data.resolve_model_data_config(again)["mean"],
}
exec((folder / "timm_users.py").read_text(), globals())
""",
    "open_clip": """
sys.path.insert(0, str(folder / "open_clip"))
from open_clip_finevit import load
model, preprocess, tokenizer = load(folder / "open_clip")
outputs = [model.visual.encoder.encode(image[None]) for image in images]
tokens, pooled = [o[0][0] for o in outputs], [o[1][0] for o in outputs]
texts = ["a red circle", "", "Two cats on a blue table and a dog " * 9]
picture = torch.arange(3 * 40 * 60).remainder(256).to(torch.uint8).reshape(3, 40, 60)
native = load(folder / "open_clip", native=True)[1]
said = {
    "image": model.encode_image(images, normalize=True),
    "batch": model.encode_image(images[0][None]),
    "ids": tokenizer(texts),
    "short": tokenizer("a red circle", context_length=4),
    "spelt": tokenizer(["a dog</s>", "a <pad> cat<s>"]),
    "text": model.encode_text(tokenizer(texts), normalize=True),
    "raw": model.encode_text(tokenizer(texts)).norm(dim=-1),
    "scale": (model.logit_scale.item(), model.logit_bias.item()),
    "forward": model(images[0][None], tokenizer(texts)),
    "dict": load(folder / "open_clip", output_dict=True)[0](images[0][None], tokenizer(texts)),
    "half": model(text=tokenizer(texts)),
    "length": (model.context_length, tokenizer.context_length),
    "logits": model.get_logits(images, tokenizer(texts))[0],
    "sizes": (model.visual.image_size, preprocess(picture).shape, native(picture).shape),
}
""",
    "llava": """
sys.path.insert(0, str(folder / "llava"))
from types import SimpleNamespace
from llava_finevit import FineViTVisionTower, LlavaImages, load_projector
tower = FineViTVisionTower(folder / "llava", delay_load=True)
before = tower.is_loaded, tower.hidden_size
tower.load_model()
tokens, pooled = [o[0] for o in tower(images)], None
other = FineViTVisionTower(folder / "llava", SimpleNamespace(mm_vision_select_layer=-2))
projector = load_projector(folder / "llava")
picture = torch.arange(3 * 40 * 60).remainder(256).to(torch.uint8).reshape(3, 40, 60)
native = LlavaImages(folder / "llava", native=True)
said = {
    "before": before,
    "batch": (tower(images[0][None])[0] - tokens[0]).abs().max(),
    "second": torch.cat([other(image[None])[0] for image in images]),
    "patches": (tower.num_patches, tower.num_patches_per_side, tower.image_processor.crop_size, tower.dtype, tower.device.type),
    "grad": [any(p.requires_grad for p in tower.parameters()), list(tower.dummy_feature.shape)],
    "visual": torch.cat([projector(t[None], (i.shape[1] // 14, i.shape[2] // 14))[0] for t, i in zip(tokens, images)]),
    "pixels": (tower.image_processor(picture)["pixel_values"].shape, native([picture])["pixel_values"][0].shape),
}
""",
    "onnx": """
import onnxruntime
session = onnxruntime.InferenceSession(folder / "onnx/model.onnx", providers=["CPUExecutionProvider"])
outputs = [session.run(None, {"pixel_values": image[None].numpy()}) for image in images]
tokens, pooled = ([torch.from_numpy(o[k][0]) for o in outputs] for k in (0, 1))
pair = torch.stack([images[8], images[8].flip(2)])
both = session.run(None, {"pixel_values": pair.numpy()})[1]
said = {
    "pair": float(abs(both[0] - outputs[8][1][0]).max()),
    "shapes": [i.shape for i in session.get_inputs()] + [o.shape[::2] for o in session.get_outputs()],
    "config": json.loads((folder / "onnx/config.json").read_text()),
}
""",
}
