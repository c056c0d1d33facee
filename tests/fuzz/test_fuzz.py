"""A share of the fuzzing of `tests/benchmarks/fuzz.py`, and every input that once broke something."""

import json
import os
import random
import subprocess
import sys
from pathlib import Path

import pytest
from corpus import seeds
from mutate import PNG, mutant, with_sums

from restore.errors import RestoreError
from restore.files import Limits, read, read_stack

FOUND = sorted((Path(__file__).parent / "found").glob("[!.R]*"))
FUZZ = Path(__file__).parents[1] / "benchmarks" / "fuzz.py"


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="holds memory down on Linux")
def test_damaged_files_of_every_format_end_in_a_typed_error() -> None:
    seen = os.environ | {"PYTHONPATH": os.pathsep.join([str(FUZZ.parents[2]), str(Path(__file__).parent)])}
    words = [sys.executable, FUZZ, "--count", "1500", "--seed", "11"]
    run = subprocess.run(words, env=seen, capture_output=True, check=False)
    assert run.returncode == 0, run.stderr.decode()
    figures = json.loads(run.stdout)
    assert figures["read"] > 100
    assert figures["refused"] > 500
    assert figures["seeds read"] > 50


@pytest.mark.parametrize("path", FOUND, ids=lambda path: path.name)
def test_what_once_broke_the_reader_ends_in_a_typed_error(path: Path) -> None:
    for door in (read, lambda path, limits: list(read_stack(path, limits=limits))):
        try:
            door(path, limits=Limits(max_pixels=2_000_000, max_seconds=20))
        except RestoreError as error:
            assert str(path) in str(error)


def test_mutants_are_damaged_and_repeatable() -> None:
    corpus = seeds()
    assert corpus == seeds()
    others = [*corpus.values()]
    once, again = ([mutant(body, random.Random(3), others) for body in others] for _ in range(2))
    assert once == again
    assert sum(a == b for a, b in zip(once, others, strict=True)) < len(others) / 10
    png = corpus["colour.png"]
    assert with_sums(png) == png
    assert with_sums(png[:20] + b"\xff" + png[21:])[:8] == PNG
