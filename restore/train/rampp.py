"""Train ``rampp`` the RAM++ way: masked pretraining (AdaSAM), layer ranking (MAC), features (RFR) and fine-tuning."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from restore import weights
from restore.errors import Cancelled, ReadError, WeightsError
from restore.nets.adasam import AdaSAM, draw
from restore.nets.prune import whole
from restore.nets.ram_unet import CODE, RamUNet
from restore.nets.unshuffle_unet import UnshuffleUNet
from restore.train import loop, options
from restore.train.data import Photos
from restore.train.loop import Budget, fit
from restore.train.mac import conductance, freeze
from restore.train.muon import Muon
from restore.train.ram_data import Batch, batches, fitted_amounts, validation

MEAN = torch.tensor((0.485, 0.456, 0.406)).view(1, 3, 1, 1)
"""What a hidden pixel becomes: the mean of photos."""


@dataclass(frozen=True)
class Config:
    """What is learnt."""

    batch: int = 8
    patch: int = 96
    tuned_batch: int = 8
    tuned_patch: int = 128
    widths: tuple[int, int, int] = (48, 96, 192)
    hidden_share: float = 0.5
    mask_rate: float = 0.2
    mac_steps: int = 40
    mac_batches: int = 2


def drawn(
    args: argparse.Namespace, patch: int, *, is_varied: bool = False
) -> Callable[[np.random.Generator, int], Iterator[Batch]]:
    """Return what draws batches of a size."""
    photos = Photos(args.photos)
    return lambda rng, size: batches(photos, size, patch, rng, is_varied=is_varied)


class Masked(nn.Module):
    """The restorer and the mask network, learning together."""

    def __init__(self, restorer: RamUNet, config: Config, seed: int = 0) -> None:
        super().__init__()
        self.restorer = restorer
        self.masker = AdaSAM((config.patch // 8) ** 2, 8, width=96, heads=4)
        self.generator = torch.Generator().manual_seed(seed)

    def loss(self, batch: Batch, share: float) -> Tensor:
        """Masked L1 for the restorer; for the mask network, the score-function estimate that seeks large errors."""
        x, y, *_ = batch
        hidden = MEAN.to(x.device)
        pixels = self.masker.pixels(self.masker(x - hidden), *x.shape[-2:])
        mask = draw(pixels, share, self.generator)
        error = (self.restorer(torch.lerp(x, hidden.expand_as(x), mask)) - y).abs()
        count = 3 * mask.sum()
        restored = (mask * error).sum() / count
        # no baseline: with one, tokens that are hidden whole are hidden ever more, whatever they show; without, chances
        # settle where they are as the errors that they find
        sought: Tensor = -(mask * error.detach() * torch.log(pixels + 1e-6)).sum() / count
        both: Tensor = restored + sought
        return both


def started(config: Config, args: argparse.Namespace) -> RamUNet:
    """Return a network to begin with: random, or of a denoiser that was told levels of noise in planes.

    The denoiser's planes become the code's first, which is one, as if it were told ``sigma = 25 / 255`` always.
    What its blocks lost to `lean` begins anew.
    """
    net = RamUNet(config.widths, has_features=False)
    given = options.part_of(args, "", 3)
    if given:
        state, channels = whole(UnshuffleUNet.from_state(given).checked(2, 3)).state_dict(), net.net.channels
        head = state["head.weight"]
        told = head.new_zeros(len(head), CODE, 3, 3)
        told[:, 0] = head[:, 4 * channels] * (25 / 255)
        state["head.weight"] = torch.cat([head[:, : 4 * channels], told], 1)
        try:
            net.net.load_state_dict(state)
        except RuntimeError as error:
            raise WeightsError(f"{args.start}: a denoiser of other --widths than {config.widths}") from error
    return net


def pretrain(restorer: RamUNet, args: argparse.Namespace, config: Config) -> None:
    """Stage 1, saved as ``stage1.pt``."""
    checkpoint = args.run / "pretrain.pt"
    model = Masked(restorer, config, args.seed)
    examples = options.examples(args, checkpoint, drawn(args, config.patch), config.batch)
    masker = [{"params": list(model.masker.parameters()), "factor": config.mask_rate}]
    both = [Muon(restorer.parameters(), args.rate, 1e-4), torch.optim.AdamW(masker, weight_decay=0.0)]
    loss = partial(_masked_loss, share=config.hidden_share)
    state, _ = fit(model, examples, loss, options.budget(args), checkpoint, None, both)
    torch.save(state, args.run / "stage1.pt")


def _masked_loss(model: nn.Module, batch: Batch, share: float) -> Tensor:
    assert isinstance(model, Masked)
    return model.loss(batch, share)


def rank(args: argparse.Namespace, config: Config) -> None:
    """Stage 2: rank the layers, and write ``mac.json``."""
    model = _stage1(args, config)
    net = model.restorer.net
    rng = np.random.default_rng(args.seed)
    source = batches(Photos(args.photos), config.batch, config.patch, rng)
    found: dict[str, float] = {}
    for _ in range(config.mac_batches):
        if loop.stop.is_set():
            raise Cancelled("the ranking was stopped; nothing was written")
        x = next(source)[0]
        order = model.masker.pixels(model.masker(x - MEAN), *x.shape[-2:]).flatten(1).argsort(1).detach()
        part = conductance(net, lambda seen: model.restorer(seen + MEAN), x - MEAN, order, config.mac_steps)
        found = {f"net.{name}": found.get(f"net.{name}", 0.0) + value for name, value in part.items()}
    ranked = dict(sorted(found.items(), key=lambda item: -item[1]))
    (args.run / "mac.json").write_text(json.dumps(ranked, indent=1) + "\n", encoding="utf-8")


def _stage1(args: argparse.Namespace, config: Config) -> Masked:
    model = Masked(RamUNet(config.widths, has_features=False), config)
    path = _made_before(args.run / "stage1.pt", "pretrain")
    try:
        model.load_state_dict(torch.load(path, weights_only=True))
    except RuntimeError as error:
        raise ReadError(path, "of a network of other --widths or --patch; give the same, or another --run") from error
    return model.eval()


def _made_before(path: Path, stage: str) -> Path:
    if not path.exists():
        raise ReadError(path, f"is not there; run --stage {stage} first, with the same --run")
    return path


def with_content(stage1: RamUNet, args: argparse.Namespace, config: Config) -> RamUNet:
    """Return a network with the weights of stage 1 and a content encoder that sees through degradations.

    The encoder of stage 1 teaches a copy of itself: the teacher sees the clean picture, the student the degraded
    one, and the cosine between their features is made large. The student is frozen afterwards.
    """
    model = RamUNet(config.widths)
    start = stage1.net.state_dict()
    model.net.load_state_dict(start)
    student = {name: value for name, value in start.items() if name in model.content.state_dict()}
    student["head.weight"] = student["head.weight"][:, : 4 * model.net.channels + 1]
    model.content.load_state_dict(student)
    teacher = RamUNet(config.widths).to(args.device)
    teacher.load_state_dict(model.state_dict())
    model.content.requires_grad_(True)
    checkpoint = args.run / f"{args.name} content.pt"

    def distance(net: nn.Module, batch: Batch) -> Tensor:
        assert isinstance(net, RamUNet)
        with torch.no_grad():
            truth = teacher.content_of(batch[1])
        seen = net.content_of(batch[0])
        return torch.stack([1 - F.cosine_similarity(a, b, 1).mean() for a, b in zip(seen, truth, strict=True)]).mean()

    budget = Budget(args.content_minutes, 3e-4, device=args.device, optimiser="muon", steps=args.content_steps)
    examples = options.examples(args, checkpoint, drawn(args, config.patch), config.batch, 2)
    state, _ = fit(model, examples, distance, budget, checkpoint)
    model.load_state_dict(state)
    model.content.requires_grad_(False)
    return model


def with_given(stage1: RamUNet, key: str, config: Config) -> RamUNet:
    """Return a network with the weights of stage 1 that looks through the content encoder of other weights, frozen.

    So the paper does it: its encoder, DINOv2, is not learnt for the task either.
    """
    other = RamUNet.from_state({name: value.float() for name, value in weights.load(key)[0].items()})
    if not other.has_features:
        raise WeightsError(f"{key} has no content encoder; give weights of `restore train rampp` with one")
    widths = tuple(layer.out_channels for layer in (other.content.head, other.content.down1, other.content.down2))
    model = RamUNet(config.widths, content=widths)  # type: ignore[arg-type]
    model.net.load_state_dict(stage1.net.state_dict())
    model.content.load_state_dict(other.content.state_dict())
    return model


def with_recogniser(net: RamUNet, args: argparse.Namespace, config: Config) -> None:
    """Teach the recogniser, and freeze it: what the restorer is told shall not change while it learns."""
    checkpoint = args.run / f"{args.name} recogniser.pt"
    examples = options.examples(args, checkpoint, drawn(args, config.tuned_patch // 2, is_varied=True), 32, 3)

    def loss(recogniser: nn.Module, batch: Batch) -> Tensor:
        *_, kinds, seen = batch
        return F.cross_entropy(recogniser(seen), kinds, label_smoothing=0.02)

    budget = Budget(args.recogniser_minutes, 2e-3, device=args.device, steps=args.recogniser_steps, optimiser="muon")
    state, _ = fit(net.recogniser, examples, loss, budget, checkpoint)
    net.recogniser.load_state_dict(state)
    net.recogniser.requires_grad_(False)


def restoring(net: nn.Module, batch: Batch) -> Tensor:
    """Mean logarithm of each patch's squared error: a decibel counts the same for every kind of degradation.

    With the error itself haze and darkness, which change every pixel much, drown JPEG, which changes few. Errors that
    nobody sees (45 dB) hardly count, else clean patches would drown all others.
    """
    assert isinstance(net, RamUNet)
    x, y, _, seen = batch
    error: Tensor = net(x, net.code_of(seen)) - y
    return (error.square().mean((1, 2, 3)) + 3e-5).log().mean()


def plain(net: nn.Module, batch: Batch) -> Tensor:
    """Mean absolute error, the published loss: from random weights it learns sooner than `restoring`.

    In decibels clean patches, which any change spoils, hold a network back that does not know yet what it sees.
    """
    assert isinstance(net, RamUNet)
    x, y, _, seen = batch
    return F.l1_loss(net(x, net.code_of(seen)), y)


LOSSES = {"decibel": restoring, "l1": plain}


def finetune(args: argparse.Namespace, config: Config, command: str) -> None:
    """Stage 3: learn on whole pictures, all layers or the first by MAC; or go on from such weights."""
    checkpoint = args.run / f"{args.name}.pt"
    if args.start and not args.scratch:
        net = RamUNet.from_state(options.started(args) or {})
    else:
        stage1 = started(config, args) if args.scratch else _stage1(args, config).restorer
        if args.content:
            net = with_given(stage1, args.content, config)
        else:
            net = stage1 if args.no_features else with_content(stage1, args, config)
    net.amounts.fill_(1)
    with_recogniser(net, args, config)
    if args.ratio < 1:
        ranking = list(json.loads(_made_before(args.run / "mac.json", "mac").read_text(encoding="utf-8")))
        freeze(net, ranking, args.ratio, ("inject",))
    examples = options.examples(args, checkpoint, drawn(args, config.tuned_patch), config.tuned_batch, 1)
    score = validation(Photos(args.photos, held_out=True), args.device, args.run / f"{args.name}.png")
    state, progress = fit(net, examples, LOSSES[args.loss], options.budget(args), checkpoint, score)
    net.load_state_dict(state)
    held_out = Photos(args.photos, held_out=True)
    state["amounts"] = fitted_amounts(net.eval(), held_out, np.random.default_rng(args.seed))
    torch.save(state, args.run / f"{args.name} tuned.pt")
    options.deliver(args, state, progress, command=f"{command} (after --stage pretrain)")


def main(argv: list[str] | None = None) -> None:
    """Run a stage from the command line."""
    made = options.parser("rampp", __doc__, minutes=60)
    made.add_argument("--stage", choices=("pretrain", "mac", "finetune"), required=True)
    made.add_argument(
        "--content-minutes", type=options.at_least(0.0), default=5, help="how long the content encoder learns"
    )
    made.add_argument("--content-steps", type=int, help="the same in steps")
    made.add_argument("--content", metavar="KEY", help="weights whose content encoder is taken, and none learnt")
    made.add_argument(
        "--recogniser-minutes", type=options.at_least(0.0), default=4, help="how long the recogniser learns"
    )
    made.add_argument("--recogniser-steps", type=int, help="the same in steps")
    made.add_argument("--patch", type=int, help="side of a patch (96; 128 in fine-tuning)")
    made.add_argument("--widths", type=int, nargs=3, default=Config.widths, help="channels at 1/2, 1/4 and 1/8")
    made.add_argument("--ratio", type=float, default=1.0, help="share of layers that are fine-tuned, by MAC")
    made.add_argument("--scratch", action="store_true", help="leave masked pretraining out")
    made.add_argument("--no-features", action="store_true", help="leave feature injection out")
    made.add_argument("--loss", choices=list(LOSSES), default="decibel", help="of fine-tuning")
    made.add_argument("--name", default="finetune", help="name of the checkpoint and the sheet of pictures")
    args = made.parse_args(argv)
    options.prepare(args)
    config = Config(widths=tuple(args.widths))
    config = replace(config, patch=args.patch, tuned_patch=args.patch) if args.patch else config
    if args.stage == "pretrain":
        pretrain(started(config, args), args, config)
    elif args.stage == "mac":
        rank(args, config)
    else:
        finetune(args, config, options.command("rampp", made, args))


if __name__ == "__main__":
    main()
