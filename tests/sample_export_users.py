"""What users of Transformers and timm do with exports, where finevit cannot be imported: continues ``sample_exports.CODE``.

Each text finds ``folder``, ``images``, ``torch`` and what the code before it has left, and adds to ``said``.
"""

HF = """
import warnings
from PIL import Image
from transformers import AutoBackbone, AutoModelForImageClassification, pipeline
from transformers.utils.hub import hf_api
path, few = str(folder / "hf"), [Image.fromarray(photo) for photo in (photos[0], photos[1][:90, :120], photos[1][:200, :100])]
def gap(a, b):
    return (a - b).abs().max().item()

def load(auto, **options):
    return auto.from_pretrained(path, trust_remote_code=True, **options)

model.eval()
mixed = processor(few)
wanted = [model(**processor(one)) for one in few]
eager = load(AutoModel, attn_implementation="eager").eval()
slow, written_out = eager(**mixed).last_hidden_state, eager.encoder.attend.__name__
eager.set_attn_implementation("sdpa")
said["attention"] = [gap(slow, model(**mixed).last_hidden_state), gap(eager(**mixed).last_hidden_state, model(**mixed)[0])]
said["kinds"] = [model.config._attn_implementation, written_out, eager.encoder.attend.__name__]
try:
    load(AutoModel, attn_implementation="flash_attention_2")
except ValueError as error:
    said["flash"] = str(error)

tuned, runs, grads = load(AutoModel).train(), [], []
for block in tuned.encoder.blocks:
    block.attention.register_forward_hook(lambda *_: runs.append(1))
with torch.enable_grad(), warnings.catch_warnings():
    warnings.simplefilter("ignore")  # transformers 5 renames the method
    for enable in (False, True):
        if enable:
            tuned.gradient_checkpointing_enable()
        tuned.zero_grad()
        tuned(images[3][None]).pooler_output.square().sum().backward()
        grads.append(tuned.encoder.embed.weight.grad.clone())
        runs.append(0)
said["checkpointing"] = (gap(*grads), runs)

kinds = {"size": {"size": 224}, "edge": {"size": {"shortest_edge": 112}}, "rounded": {"size": {"height": 100, "width": 200}}}
kinds |= {"longest": {"size": {"longest_edge": 112}}, "cropped": {"size": {"shortest_edge": 130}, "crop_size": 98}}
said["sizes"] = {name: list(processor(few[1], **kind)["pixel_values"].shape) for name, kind in kinds.items()}
as_it_is = np.asarray(Image.fromarray(photos[0][:42, :70]))
raw = processor(as_it_is, do_resize=False, do_rescale=False, do_normalize=False)["pixel_values"][0].permute(1, 2, 0)
said["raw"] = gap(raw, torch.tensor(as_it_is).float())
floats = processor(as_it_is / np.float32(255), do_resize=False, do_rescale=False)["pixel_values"]
said["floats"] = gap(floats, processor(as_it_is, do_resize=False)["pixel_values"])
said["types"] = [type(processor(few[1], return_tensors=kind)["pixel_values"]).__name__ for kind in ("pt", "np", None)]
said["arrays"] = [each.shape for each in processor(few, return_tensors=None)["pixel_values"]]
forms = [few[:1], [few[0]]], np.stack([as_it_is] * 2), as_it_is[::-1]
said["forms"] = [list(processor(form)["pixel_values"].shape) for form in forms]
errors = {}
for name, given, options in (
    ("sides", few[1], {"do_resize": False}), ("key", few[1], {"size": {"side": 3}}), ("argument", few[1], {"resample": 3}),
    ("floats", as_it_is / 255, {}), ("empty", [], {}), ("tensors", few[1], {"return_tensors": "tf"}),
):
    try:
        processor(given, **options)
    except (ValueError, TypeError) as error:
        errors[name] = type(error).__name__ + ": " + str(error)
said["errors"] = errors
chosen = load(AutoImageProcessor, size={"height": 56, "width": 84})
chosen.save_pretrained(folder / "chosen")
again = AutoImageProcessor.from_pretrained(folder / "chosen", trust_remote_code=True)
said["chosen"] = [list(each(few[1])["pixel_values"].shape) for each in (chosen, again)]

pipe = pipeline("image-feature-extraction", model=path, image_processor=path, trust_remote_code=True)
found = pipe(few, batch_size=2, return_tensors=True)
said["pipeline"] = [gap(a, b.last_hidden_state) for a, b in zip(found, wanted)]
pooled_too = pipe(few, batch_size=3, pool=True, return_tensors=True)
said["pools"] = [gap(a, b.pooler_output) for a, b in zip(pooled_too, wanted)]

hf_api().repo_exists = lambda name: True  # AutoBackbone asks the hub even about a folder
backbone = load(AutoBackbone, out_indices=[1, -1]).eval()
maps, states = backbone(images[4][None]).feature_maps, model(images[4][None], output_hidden_states=True)
said["backbone"] = (backbone.channels, backbone.out_features, [list(each.shape) for each in maps])
said["maps"] = [gap(maps[1].flatten(2).mT, states[0]), gap(maps[0].flatten(2).mT, model.encoder.norm(states.hidden_states[1]))]
spread = backbone(**mixed).feature_maps[1]
said["spread"] = (list(spread.shape), spread[0, :, 4:].abs().max().item(), gap(spread[0, :, :4, :4].flatten(1).T, wanted[0][0][0]))

torch.manual_seed(0)
classifier = load(AutoModelForImageClassification, num_labels=3, id2label={0: "a", 1: "b", 2: "c"}).eval()
output = classifier(**mixed, labels=torch.tensor([0, 2, 1]))
said["loss"] = gap(output.loss, torch.nn.functional.cross_entropy(output.logits, torch.tensor([0, 2, 1])))
said["logits"] = gap(output.logits, classifier.classifier(model(**mixed).pooler_output))
classifier.save_pretrained(folder / "classifier")
processor.save_pretrained(folder / "classifier")
names = pipeline("image-classification", model=str(folder / "classifier"), trust_remote_code=True)(few, batch_size=2, top_k=1)
said["classes"] = ([each[0]["label"] for each in names], ["abc"[row.argmax()] for row in output.logits])

sides = {0: torch.export.Dim("batch", min=1, max=64), 2: 14 * torch.export.Dim("rows", min=1, max=99)}
sides[3] = 14 * torch.export.Dim("cols", min=1, max=99)
graph = torch.export.export(model, (torch.zeros(2, 3, 28, 42),), dynamic_shapes={"pixel_values": sides}).module()
pair = torch.stack([images[8], images[8].flip(2)])
said["exported"] = gap(graph(pair).last_hidden_state, model(pair).last_hidden_state)
"""
"""Hugging Face: attention, checkpointing, the processor's settings, pipelines, backbones, classifiers, ``torch.export``."""

TIMM = """
def gap(a, b):
    return (a - b).abs().max().item()

def make(**options):
    return timm.create_model(name, pretrained=True, **options).eval()

plain, pair = make(), torch.stack([images[8], images[8].flip(2)])
wide, deep = make(img_size=448), make(drop_path_rate=0.5)
said["same"] = max(gap(each(pair), plain(pair)) for each in (wide, deep, make(img_size=(112, 112), dynamic_img_size=False)))
rates = [getattr(block.drop_path, "drop_prob", 0.0) for block in deep.blocks]
deep.train()
torch.manual_seed(0)
said["drop_path"] = (rates, [gap(deep(pair), plain(pair)) > 1e-3 for _ in range(4)])
wide.set_input_size((56, 84))
said["sides"] = (wide.img_size, gap(wide(pair), plain(pair)))
said["layers"] = [
    gap(plain.get_intermediate_layers(pair, 1, norm=True)[0], plain.forward_features(pair)),
    gap(plain.get_intermediate_layers(pair, [0, 1], reshape=True)[1].flatten(2).mT, plain.get_intermediate_layers(pair, 2)[0]),
]
said["dict"] = {key: len(value) for key, value in plain.forward_intermediates(pair, 2, output_dict=True).items()}
errors = {}
for title, options in (
    ("img_size", {"img_size": 225}), ("unknown", {"qkv_bias": False}), ("fixed", {"img_size": 28, "dynamic_img_size": False}),
):
    try:
        make(**options)(pair)
    except (ValueError, TypeError) as error:
        errors[title] = type(error).__name__ + ": " + str(error)
try:
    plain.set_input_size(224, patch_size=16)
except ValueError as error:
    errors["patch"] = str(error)
said["errors"] = errors
"""
"""timm: settings of ``create_model``, ``set_input_size``, DINO's interface."""
