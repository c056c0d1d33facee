"""Make the README's before/after pairs from the samples: ``python tests/benchmarks/figures.py``."""

from pathlib import Path

import numpy as np

import restore
from restore.picture import Image

SAMPLES = Path(__file__).parents[2] / "samples"
SHOWN = {
    "colosseum-noisy.jpg": (250, 250),
    "parrots-sigma25.png": (30, 60),
    "lighthouse-dark.jpg": (120, 200),
    "nikon-crop.dng": (60, 220),
}
"""Sample and top left corner of the part shown."""

SIDE = 300


def main() -> None:
    folder = SAMPLES / "figures"
    folder.mkdir(exist_ok=True)
    for name, (top, left) in SHOWN.items():
        before = restore.run(SAMPLES / name, "none").pixels
        after = restore.run(SAMPLES / name).pixels
        part = np.s_[top : top + SIDE, left : left + SIDE]
        gap = np.ones((SIDE, 6, 3), np.float32)
        pair = np.concatenate([np.clip(before[part], 0, 1), gap, np.clip(after[part], 0, 1)], axis=1)
        restore.write(folder / f"{Path(name).stem}.jpg", Image(pair), quality=90)


if __name__ == "__main__":
    main()
