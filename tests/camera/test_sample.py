"""Back-ends of sampling against the moments they stand for."""

from dataclasses import replace

import numpy as np
import pytest
from drawn import SEED
from proxies import straight

from restore.camera import BACKENDS, Branch, IsoNoise, Profile, Spread, sample
from restore.camera.sample import shot, unlit
from restore.errors import ArrayError

GAIN, SIGMA, SPAN = 0.4, 5.0, 16383.0 - 512
SIZE = (200, 300)

PROFILE = Profile(
    maker="", model="", bits=14, cfa=((0, 1), (1, 2)), black=((512.0,) * 2,) * 2, white=16383.0,
    isos=(IsoNoise(400.0, GAIN, SIGMA, tukey_sigma=SIGMA / 1.464, sigma_row=2.0, sigma_col=1.0),),
    branches=(Branch((400.0,), straight(400.0, GAIN, SIGMA)),),
)  # fmt: skip


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(SEED)


def test_shot_noise_is_poisson(rng: np.random.Generator) -> None:
    for gain, level in ((0.1, 30.0), (0.5, 400.0), (2.0, 5000.0), (6.0, 9000.0), (0.02, 900.0)):
        drawn = shot(np.full((700, 700), level, np.float32), gain, rng)
        assert drawn.mean(dtype=np.float64) == pytest.approx(level, rel=1e-3)
        assert drawn.var(dtype=np.float64) / (gain * level) == pytest.approx(1, abs=0.01)
    assert not shot(np.zeros((5, 5), np.float32), 0.3, rng).any()


@pytest.mark.parametrize("backend", BACKENDS)
def test_mean_and_variance(backend: str, rng: np.random.Generator) -> None:
    light, ratio = 4000.0, 4.0
    clean = np.full(SIZE, light / SPAN, np.float32)
    darks = [rng.normal(0, SIGMA, (210, 310)).astype(np.float32)]
    noisy = sample(clean, PROFILE, 400, ratio, rng, backend=backend, darks=darks)
    dn = noisy.astype(np.float64) * SPAN / ratio
    bands = {"eld": 4, "pnnp": 5, "gaussian": 5, "poisson-gaussian": 5}.get(backend, 0)
    rounding = 1 / 12 if backend != "sfrn" else 0
    expected = GAIN * light / ratio + SIGMA**2 + bands + rounding
    assert dn.mean() == pytest.approx(light / ratio, abs=1.0)
    assert dn.var() == pytest.approx(expected, rel=0.05)
    assert noisy.dtype == np.float32 and noisy.shape == SIZE


def test_bands_are_whole_rows_and_columns(rng: np.random.Generator) -> None:
    frames = np.stack([unlit(SIZE, PROFILE, PROFILE.at(400), rng) for _ in range(30)])
    rows, columns = frames.mean(axis=2), frames.mean(axis=1)
    assert rows.var() == pytest.approx(4 + SIGMA**2 / SIZE[1], rel=0.06)
    assert columns.var() == pytest.approx(1 + SIGMA**2 / SIZE[0], rel=0.08)
    assert abs(np.corrcoef(rows[:, 0::2].ravel(), rows[:, 1::2].ravel())[0, 1]) < 0.08


def test_darkness_stays_below_black_and_white_is_kept(rng: np.random.Generator) -> None:
    dark = sample(np.zeros(SIZE, np.float32), PROFILE, 400, 100.0, rng)
    assert 0.4 < np.mean(dark < 0) < 0.6
    assert sample(np.ones(SIZE, np.float32), PROFILE, 400, 1.0, rng).max() == 1


def test_spread_moves_the_noise_from_sample_to_sample(rng: np.random.Generator) -> None:
    flat = np.zeros((60, 60), np.float32)

    def sigmas(spread: Spread) -> float:
        return float(np.std([sample(flat, PROFILE, 400, 1.0, rng, spread=spread).std() for _ in range(40)]))

    assert sigmas(Spread(pixel=0.3)) > 4 * sigmas(Spread(0.0, 1.0, 0.0, 0.0))


def test_same_seed_same_noise() -> None:
    clean = np.full(SIZE, 0.1, np.float32)
    first, second = (sample(clean, PROFILE, 400, 2.0, np.random.default_rng(5)) for _ in range(2))
    assert np.array_equal(first, second)


def test_what_cannot_be_sampled(rng: np.random.Generator) -> None:
    clean = np.zeros((8, 8), np.float32)
    with pytest.raises(ArrayError, match="Did you mean 'pnnp'"):
        sample(clean, PROFILE, 400, 1.0, rng, backend="pnp")  # type: ignore[arg-type]
    with pytest.raises(ArrayError, match="dark frames"):
        sample(clean, PROFILE, 400, 1.0, rng, backend="sfrn")
    with pytest.raises(ArrayError, match="smaller"):
        sample(clean, PROFILE, 400, 1.0, rng, backend="sfrn", darks=[clean[:4]])
    with pytest.raises(ArrayError, match="no trained proxy"):
        sample(clean, replace(PROFILE, branches=(Branch((400.0,)),)), 400, 1.0, rng)
    with pytest.raises(ArrayError, match="ratio"):
        sample(clean, PROFILE, 400, 0.0, rng)
    with pytest.raises(ArrayError, match="mosaic"):
        sample(clean[None], PROFILE, 400, 1.0, rng)
