"""The identity: passes a picture through the whole pipeline unchanged, to test everything else."""

from __future__ import annotations

from torch import Tensor

from restore.method import Compute, Method, Scene, Settings, State
from restore.tiling import TileOp


class Identity:
    """A restorer that changes nothing."""

    def prepare(self, scene: Scene, /) -> TileOp:
        """Return the identity."""
        del scene
        return TileOp(_same)


def _same(tile: Tensor) -> Tensor:
    return tile


def load(settings: Settings, state: State | None, compute: Compute) -> Identity:
    """Return the identity."""
    del settings, state, compute
    return Identity()


METHOD = Method(
    name="none",
    title="No change",
    summary="Reads, develops and writes without touching a pixel.",
    domain=None,
    settings=Settings,
    load=load,
)
