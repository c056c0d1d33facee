"""Every method makes of every sample what it made before: changes of results are visible acts."""

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest

from restore import methods

COMMAND = "python tests/benchmarks/golden.py"
SAME_KIND, OTHER_KIND, FITTED = 2e-5, 5e-4, 0.03
"""Largest difference in fractions of white, to results of the same kind of processor and of another: sums in another
order differ by some 1e-6 a layer; a step of the 16 bits that are kept is 3e-5. FITTED is for methods that optimise on
the picture: the optimiser makes 0.008 in three steps of a sum that one thread and two take in another order."""


def _script():
    path = Path(__file__).parent / "benchmarks" / "golden.py"
    spec = importlib.util.spec_from_file_location("golden", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules["golden"] = module
    spec.loader.exec_module(module)
    return module


golden = _script()
NAMES = sorted(methods.registry())
CASES = [(name, sample) for name in NAMES for sample in golden.SAMPLES]


def kept(name: str) -> dict[str, np.ndarray]:
    path = golden.FOLDER / f"{name}.npz"
    assert path.is_file(), f"method {name!r} has no golden outputs: look at its results, then run '{COMMAND} {name}'"
    return dict(np.load(path))


@pytest.mark.parametrize("name", NAMES)
def test_golden_outputs_are_of_the_weights_there_are(name: str) -> None:
    assert str(kept(name)["weights"]) == golden.sha256(methods.get(name)), (
        f"the weights of {name!r} are others than those of its golden outputs: "
        f"look at its results, then run '{COMMAND} {name}'"
    )


@pytest.mark.parametrize(("name", "sample"), CASES)
def test_results_are_as_they_were(name: str, sample: str) -> None:
    before, method = kept(name), methods.get(name)
    if str(before["weights"]) != golden.sha256(method):
        pytest.skip("the weights changed, which another test says")
    found = golden.made(method, sample)
    kinds = {key.split("/")[0]: value for key, value in before.items() if key.endswith(f"/{sample}")}
    assert bool(kinds) == (found is not None), f"{name!r} takes other samples than before: run '{COMMAND} {name}'"
    if found is None:
        return
    own = golden.processor()
    reference = kinds.get(own, next(iter(kinds.values())))
    assert reference.shape == found.pixels.shape
    difference = np.abs(reference.astype(np.int32) - found.pixels).max() / 32767.5
    limit = FITTED if method.fits_per_image else (SAME_KIND if own in kinds else OTHER_KIND) + 1 / 32767.5
    assert difference <= limit, (
        f"{name!r} on {sample} differs by up to {difference:.1e} from its golden output ({limit:.1e} is allowed); "
        f"if that is meant, run '{COMMAND} {name}' and say why in the commit"
    )


def test_golden_outputs_stay_small_and_none_is_left_over() -> None:
    found = list(golden.FOLDER.glob("*.npz"))
    assert sum(path.stat().st_size for path in found) < 1_000_000
    assert {path.stem for path in found} == set(NAMES)
