"""Attentive classification: a learned query pools the frozen patch tokens of an image, a linear layer names it (as in V-JEPA)."""

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, layer_norm
from torch.nn.utils.rnn import pad_sequence

from finevit.evaluation.probes.choice import Outcome, batches, best, cosine, counted, hold_out, search, told

ATTENTIVE_PROTOCOL = "attentive/one-query-v2"
"""One cross-attention with a learned query, no MLP behind it; AdamW, weight decay 0.01, rate by held-out images, cosine to 0."""
RATES = (3e-4, 1e-3, 3e-3)
BATCH, EPOCHS, LEAST = 64, 10, 300
DECAY = 0.01


class AttentiveProbe(nn.Module):
    """Normalised tokens of images, padded, to classes: one learned query with ``heads`` that read ``dim / heads`` values each.

    Scores are products of a token with one vector a head: what a key projection amounts to for a query that never changes. Values
    are projected after they are averaged, which is the same and costs as many products a head as the other way costs a token.
    """

    def __init__(self, *, dim: int, heads: int, classes: int) -> None:
        super().__init__()
        if dim % heads:
            raise ValueError(f"heads={heads}: must divide the encoder's width {dim}")
        self.heads = heads
        self.query = nn.Linear(dim, heads, bias=False)
        self.value = nn.Linear(dim, dim)
        self.classify = nn.Sequential(nn.LayerNorm(dim), nn.Linear(dim, classes))

    def forward(
        self, tokens: Float[Tensor, "images patches dim"], lengths: Int[Tensor, " images"]
    ) -> Float[Tensor, "images classes"]:
        """What lies beyond an image's length is not looked at."""
        there = torch.arange(tokens.shape[1], device=tokens.device) < lengths[:, None]
        shares = self.query(tokens).masked_fill(~there[..., None], -torch.inf).softmax(1)
        means = shares.transpose(1, 2) @ tokens
        values = torch.einsum("ihd,hvd->ihv", means, self.value.weight.unflatten(0, (self.heads, -1))).flatten(1)
        return self.classify(values + self.value.bias)


def train_attentive(
    tokens: Sequence[Tensor], y: Int[Tensor, " images"], *, classes: int, rates: Sequence[float], seed: int, heads: int = 4
) -> list[AttentiveProbe]:
    """One probe for each rate, learned in one pass over the same batches; ``tokens [patches, dim]`` of each image."""
    generator_state, size = torch.random.get_rng_state(), min(BATCH, len(tokens))
    torch.manual_seed(seed)
    dim = tokens[0].shape[1]
    probes = [AttentiveProbe(dim=dim, heads=heads, classes=classes).to(y.device) for _ in rates]
    for probe in probes[1:]:
        probe.load_state_dict(probes[0].state_dict())
    torch.random.set_rng_state(generator_state)
    solvers = [torch.optim.AdamW(p.parameters(), lr=r, weight_decay=DECAY) for p, r in zip(probes, rates, strict=True)]
    steps = max(LEAST, EPOCHS * (len(tokens) // size))
    for step, index in enumerate(batches(len(tokens), size=size, steps=steps, seed=seed)):
        part, lengths = padded(tokens, index, y.device)
        for probe, solver, rate in zip(probes, solvers, rates, strict=True):
            solver.param_groups[0]["lr"] = rate * cosine(step, steps)
            solver.zero_grad()
            cross_entropy(probe(part, lengths), y[index.to(y.device)]).backward()
            solver.step()
    return [probe.eval() for probe in probes]


@torch.no_grad()
def answers(probe: AttentiveProbe, tokens: Sequence[Tensor], device: torch.device) -> Int[Tensor, " images"]:
    """The class of each image."""
    parts = (padded(tokens, index, device) for index in torch.arange(len(tokens)).split(BATCH))
    return torch.cat([probe(*part).argmax(1) for part in parts])


def probe_attentive(
    train: Sequence[Tensor], train_y: Tensor, test: Sequence[Tensor], test_y: Tensor, *, classes: int, seed: int
) -> Outcome:
    """Top-1 on the test set with the rate that is best on the held-out images, learned anew from all of the training set."""
    fit, held = hold_out(len(train), seed=seed)
    learned, judged, device = [train[i] for i in fit], [train[i] for i in held], train_y.device

    def judge(rates: Sequence[float]) -> list[float]:
        probes = train_attentive(learned, train_y[fit], classes=classes, rates=rates, seed=seed)
        return [counted(answers(probe, judged, device), train_y[held])["top1"] for probe in probes]

    tried = search(RATES, judge)
    rate = best(tried)
    (probe,) = train_attentive(train, train_y, classes=classes, rates=[rate], seed=seed)
    chosen = told("learning_rate", rate, list(tried.values()))
    return Outcome(counted(answers(probe, test, device), test_y), chosen, {f"{rate:g}": score for rate, score in tried.items()})


def padded(tokens: Sequence[Tensor], index: Tensor, device: torch.device) -> tuple[Tensor, Tensor]:
    """The tokens of some images, normalised, as one tensor that is filled with zeros, and their numbers."""
    chosen = [tokens[i] for i in index.tolist()]
    together = pad_sequence(chosen, batch_first=True).to(device).float()
    return layer_norm(together, together.shape[-1:]), torch.tensor([len(part) for part in chosen], device=device)
