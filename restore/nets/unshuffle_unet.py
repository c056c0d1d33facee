"""A small residual U-Net behind a pixel-unshuffle: the shape that is fastest on a CPU for its quality."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from restore.errors import WeightsError

Injection = Callable[[int, Tensor], Tensor]

INT8 = ".int8_"
"""Part of the keys of a state dict that hold ranges of features, for :mod:`restore.nets.int8`."""

GREY = "grey."
"""Start of the keys of a second network in a state dict: the one for pictures of one channel."""

SEEN = "seen."
"""Start of the keys that say in which form a network sees pictures."""


def grey_part(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the state dict of the network for grey pictures that lies in another; empty where there is none."""
    return {name.removeprefix(GREY): value for name, value in state.items() if name.startswith(GREY)}


class ResidualBlock(nn.Module):
    """``x + conv(relu(conv(x)))``, without biases; ``inner`` channels lie between the two."""

    def __init__(self, width: int, inner: int | None = None) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(width, inner or width, 3, padding=1, bias=False)
        self.conv2 = nn.Conv2d(inner or width, width, 3, padding=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(B, C, H, W)`` to the same shape."""
        change: Tensor = self.conv2(F.relu(self.conv1(x), inplace=True))
        change += x  # in place: fresh memory costs more than the sum
        return change


STAGES = ("enc1", "enc2", "middle", "dec2", "dec1")


def _radius(blocks: tuple[int, ...]) -> int:
    """Return how many pixels around an output pixel the network reads, walking from the output to the input."""
    enc1, enc2, middle, dec2, dec1 = (2 * n for n in blocks)
    half = 1 + dec1  # the tail and the last decoder, in pixels of 1/2
    quarter = (half + 1) // 2 + dec2
    eighth = (quarter + 1) // 2 + middle
    quarter = 2 * eighth + 1 + enc2
    half = 2 * quarter + 1 + enc1 + 1
    return 2 * half + 1


class UnshuffleUNet(nn.Module):
    """Predict the noise of a picture from the picture and planes that say how noisy it is.

    There are no biases and no normalisation, so the network is homogeneous: scaling picture and noise planes
    by ``a`` scales the answer by ``a``. Nothing depends on the whole picture, so tiles can be exact.

    Parameters
    ----------
    channels
        Picture planes in and out.
    conditions
        Planes of noise level, in the picture's unit, each averaged over 2x2 pixels. 0 for a blind network.
    widths
        Channels at 1/2, 1/4 and 1/8 of the resolution.
    blocks
        Residual blocks: encoder 1/2, encoder 1/4, middle, decoder 1/4, decoder 1/2.
    inner
        Channels between the convolutions of a block, by its name (``"enc1.0"``); else as many as around them.

    References
    ----------
    Zhang et al., "Plug-and-play image restoration with deep denoiser prior" (DRUNet: bias-free residual U-Net
    with a noise map); Zhang et al., "FFDNet" (pixel-unshuffle at the door).
    """

    multiple = 8

    def __init__(
        self,
        channels: int = 3,
        conditions: int = 2,
        widths: tuple[int, int, int] = (48, 96, 192),
        blocks: tuple[int, int, int, int, int] = (2, 2, 3, 2, 1),
        inner: Mapping[str, int] | None = None,
    ) -> None:
        super().__init__()
        w1, w2, w3 = widths
        told = inner or {}

        def stage(name: str, width: int) -> nn.Sequential:
            count = blocks[STAGES.index(name)]
            return nn.Sequential(*(ResidualBlock(width, told.get(f"{name}.{i}")) for i in range(count)))

        self.radius = _radius(blocks)
        self.channels, self.conditions = channels, conditions
        self.head = nn.Conv2d(4 * channels + conditions, w1, 3, padding=1, bias=False)
        self.enc1 = stage("enc1", w1)
        self.down1 = nn.Conv2d(w1, w2, 2, stride=2, bias=False)
        self.enc2 = stage("enc2", w2)
        self.down2 = nn.Conv2d(w2, w3, 2, stride=2, bias=False)
        self.middle = stage("middle", w3)
        self.up2 = nn.ConvTranspose2d(w3, w2, 2, stride=2, bias=False)
        self.dec2 = stage("dec2", w2)
        self.up1 = nn.ConvTranspose2d(w2, w1, 2, stride=2, bias=False)
        self.dec1 = stage("dec1", w1)
        self.tail = nn.Conv2d(w1, 4 * channels, 3, padding=1, bias=False)
        self._initialise()

    def _initialise(self) -> None:
        if self.tail.weight.is_meta:
            return  # weights follow, and random numbers that are none would have torch load its compiler for seconds
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
                nn.init.kaiming_normal_(module.weight)
        nn.init.zeros_(self.tail.weight)

    def blocks(self) -> Iterator[tuple[str, ResidualBlock]]:
        """Yield the residual blocks and their names."""
        for stage in STAGES:
            yield from ((f"{stage}.{i}", block) for i, block in enumerate(getattr(self, stage)))

    @classmethod
    def from_state(cls, state: Mapping[str, Tensor]) -> Self:
        """Build the network whose sizes the state dict tells, and load it.

        Ranges for integers, a second network for grey pictures, and what says how it sees them, are left out.

        Raises
        ------
        WeightsError
            The state dict is of another architecture.
        """
        state = {name: value for name, value in state.items() if not name.startswith((GREY, SEEN))}
        try:
            widths = tuple(state[key].shape[0] for key in ("head.weight", "down1.weight", "down2.weight"))
            channels = state["tail.weight"].shape[0] // 4
            conditions = state["head.weight"].shape[1] - 4 * channels
            inner = {k.removesuffix(".conv1.weight"): len(v) for k, v in state.items() if k.endswith(".conv1.weight")}
            blocks = tuple(sum(name.startswith(f"{stage}.") for name in inner) for stage in STAGES)
            with torch.device("meta"):  # shapes are compared before anything of their size is allocated
                net = cls(channels, conditions, widths, blocks, inner)  # type: ignore[arg-type]
            kept = {name: value.clone() for name, value in state.items() if INT8 not in name}
            net.load_state_dict(kept, assign=True)
        except (LookupError, RuntimeError, ValueError) as error:
            raise WeightsError(f"these weights are not of the {cls.__name__} architecture: {error}") from error
        return net

    def checked(self, conditions: int, channels: int) -> Self:
        """Return the network, if it is told so many noise levels and takes so many channels.

        Raises
        ------
        WeightsError
            The weights are of another method, whose networks have the same architecture.
        """
        if (self.conditions, self.channels) != (conditions, channels):
            found = f"{self.channels} channels and {self.conditions} noise levels"
            raise WeightsError(f"they are of another method: for {found}, not {channels} and {conditions}")
        return self

    def encode(self, picture: Tensor, levels: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
        """Return the features at 1/2, 1/4 and 1/8, after the middle."""
        half = self.enc1(self.head(self._unshuffled(picture, levels)))
        quarter = self.enc2(self.down1(half))
        return half, quarter, self.middle(self.down2(quarter))

    def _unshuffled(self, picture: Tensor, levels: Tensor | None) -> Tensor:
        x = F.pixel_unshuffle(picture, 2)  # (B, 4C, H/2, W/2)
        if levels is not None:
            told = levels if levels.shape[-1] == 1 else F.avg_pool2d(levels, 2)
            x = torch.cat([x, told.expand(len(x), -1, *x.shape[-2:]).to(x.dtype)], 1)
        return x.contiguous(memory_format=torch.channels_last)

    def forward(self, picture: Tensor, levels: Tensor | None = None, inject: Injection | None = None) -> Tensor:
        """Predict the noise.

        Parameters
        ----------
        picture
            ``(B, channels, H, W)``, nominal 0...1, sides multiples of 8.
        levels
            ``(B, conditions, H, W)`` or ``(B, conditions, 1, 1)``: noise sigma in the picture's unit.
        inject
            Changes the features of the middle (at 1/8) and of the decoder at 1/4, given their scale (8, 4).

        Returns
        -------
        Tensor
            ``(B, channels, H, W)``: subtract it from the picture.
        """
        half = self.enc1(self.head(self._unshuffled(picture, levels)))  # 1/2
        quarter = self.enc2(self.down1(half))  # 1/4
        up = self.middle(self.down2(quarter))  # 1/8
        up = self.up2(up if inject is None else inject(8, up))
        up += quarter
        del quarter
        up = self.dec2(up)
        up = self.up1(up if inject is None else inject(4, up))  # 1/2
        up += half
        del half
        return F.pixel_shuffle(self.tail(self.dec1(up)), 2)
