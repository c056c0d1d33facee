import torch
from torch import nn

from restore.train.muon import Muon


def stepped(net: nn.Module, optimiser: Muon) -> None:
    net(torch.linspace(-1, 1, 192).reshape(1, 3, 8, 8)).square().mean().backward()
    optimiser.step()
    optimiser.zero_grad()


def test_a_resumed_run_goes_on_as_if_uninterrupted() -> None:
    kernels = [torch.rand(4, 3, 3, 3, generator=torch.Generator().manual_seed(0)), torch.ones(4)]
    nets = [nn.Conv2d(3, 4, 3) for _ in range(2)]
    for net in nets:
        net.load_state_dict(dict(zip(("weight", "bias"), kernels, strict=True)))
    first, second = (Muon(net.parameters(), 1e-2, 1e-4) for net in nets)
    for _ in range(4):
        stepped(nets[0], first)
    for _ in range(2):
        stepped(nets[1], second)
    resumed = Muon(nets[1].parameters(), 1e-2, 1e-4)
    resumed.load_state_dict(second.state_dict())
    for _ in range(2):
        stepped(nets[1], resumed)
    assert torch.equal(nets[0].weight, nets[1].weight)
    assert torch.equal(nets[0].bias, nets[1].bias)
