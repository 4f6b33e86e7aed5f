"""Muon, also where bfloat16 is emulated and its iteration runs in float32."""

import copy
import time

import torch
from torch import nn

from finevit.engine.muon import Float32Muon, Muon
from finevit.engine.optimizers import TimmMuon
from finevit.precision import bfloat16_helps


def muons() -> tuple[list[nn.Parameter], list[nn.Parameter]]:
    torch.manual_seed(0)
    shapes = ((96, 64), (64, 256), (48,), ())
    one = [nn.Parameter(torch.randn(shape)) for shape in shapes]
    other = [nn.Parameter(parameter.detach().clone()) for parameter in one]
    for parameter, twin in zip(one, other, strict=True):
        parameter.grad = torch.randn_like(parameter)
        twin.grad = parameter.grad.clone()
    return one, other


def test_muon_in_float32_is_muon():
    one, other = muons()
    before = [parameter.detach().clone() for parameter in one]
    fast, timm = Float32Muon(one, lr=0.1, nesterov=True), Muon(other, lr=0.1, nesterov=True)
    for optimizer in (fast, timm):
        optimizer.step()
    for parameter, twin, start in zip(one, other, before, strict=True):
        update, wanted = parameter.detach() - start, twin.detach() - start
        assert (update - wanted).norm() <= (0.02 if parameter.ndim == 2 else 0) * wanted.norm()
    assert [fast.state[parameter]["use_muon"] for parameter in one] == [True, True, False, False]
    assert [sorted(fast.state[a]) for a in one] == [sorted(timm.state[b]) for b in other]


def test_muon_resumes_exactly():
    one, other = muons()
    first, second = (Float32Muon(parameters, lr=0.1, nesterov=True) for parameters in (one, other))
    first.step()
    second.load_state_dict(copy.deepcopy(first.state_dict()))
    for parameter, twin in zip(one, other, strict=True):
        twin.data.copy_(parameter.data)
    first.step()
    second.step()
    assert all(torch.equal(parameter, twin) for parameter, twin in zip(one, other, strict=True))


def test_muon_takes_what_the_machine_is_good_at(monkeypatch):
    assert type(TimmMuon([nn.Parameter(torch.ones(4, 4))], lr=0.1)) is (Muon if bfloat16_helps() else Float32Muon)
    for helps, kind in ((True, Muon), (False, Float32Muon)):
        monkeypatch.setattr("finevit.engine.optimizers.bfloat16_helps", lambda helps=helps: helps)
        assert type(TimmMuon([nn.Parameter(torch.ones(4, 4))], lr=0.1)) is kind


def test_muon_in_float32_is_faster_where_bfloat16_is_emulated():
    seconds = {}
    for kind in (Muon, Float32Muon):
        parameter = nn.Parameter(torch.zeros(192, 768))
        parameter.grad = torch.randn(192, 768)
        optimizer = kind([parameter], lr=0.1)
        seconds[kind] = min(timed(optimizer) for _ in range(4))
    if not bfloat16_helps():
        assert seconds[Float32Muon] < seconds[Muon] / 2


def timed(optimizer: torch.optim.Optimizer) -> float:
    start = time.process_time()
    optimizer.step()
    return time.process_time() - start
