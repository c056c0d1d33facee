"""What is installed with the package: bounded versions, permissive licences, and a wheel that builds twice the same."""

import os
import re
import subprocess
import sys
import tomllib
import zipfile
from functools import cache
from importlib import metadata
from pathlib import Path

import pytest

requirements = pytest.importorskip("packaging.requirements")
ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
CORE = PROJECT["project"]["dependencies"]
PERMISSIVE = {
    "0BSD", "Apache-2.0", "BSD-2-Clause", "BSD-3-Clause", "BSL-1.0", "CC0-1.0", "HPND", "ISC", "MIT", "MIT-0",
    "MIT-CMU", "PSF-2.0", "Python-2.0", "Unlicense", "Zlib", "LLVM-exception",
}  # fmt: skip
NAMES = {
    "apache 2.0": "Apache-2.0", "apache license 2.0": "Apache-2.0", "apache software license": "Apache-2.0",
    "bsd": "BSD-3-Clause", "bsd license": "BSD-3-Clause", "isc license": "ISC", "isc license (iscl)": "ISC",
    "mit license": "MIT", "python software foundation license": "PSF-2.0", "the unlicense (unlicense)": "Unlicense",
}  # fmt: skip
"""What packages write in place of an SPDX identifier."""
KNOWN = {
    "certifi": "MPL-2.0: its list of certificates, used unchanged; brought by gradio",
    "orjson": "MPL-2.0 for some of its files, used unchanged; brought by gradio",
    "tqdm": "MPL-2.0 for some of its files, used unchanged; brought by gradio",
}
"""Packages that others bring, whose licence covers their own files only."""
CUDA = ("nvidia-", "cuda-")
"""Proprietary, and brought by CUDA builds of torch alone; the CPU build that the README names has none."""


def key(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


@cache
def core_set() -> dict[str, metadata.Distribution]:
    """Every package that installing this one without extras brings, as far as it is installed here."""
    found: dict[str, metadata.Distribution] = {}
    waiting = [requirements.Requirement(text) for text in CORE]
    while waiting:
        wanted = waiting.pop()
        if key(wanted.name) in found or (wanted.marker and not wanted.marker.evaluate({"extra": ""})):
            continue
        found[key(wanted.name)] = package = metadata.distribution(wanted.name)
        waiting += [requirements.Requirement(text) for text in package.requires or ()]
    return found


def licence(about: metadata.PackageMetadata) -> str:
    """Return a package's licence as an SPDX expression, or what stands there if that cannot be told."""
    stated = [about.get("License-Expression"), about.get("License")]
    stated += [line.rpartition(" :: ")[2] for line in about.get_all("Classifier") or () if line.startswith("License")]
    texts = [text.strip() for text in stated if text and len(text) < 200 and "\n" not in text]
    spdx = [NAMES.get(text.lower(), text) for text in texts]
    return next((text for text in spdx if is_understood(text)), spdx[0] if spdx else "unknown")


def is_understood(expression: str) -> bool:
    return bool(re.fullmatch(r"[\w.()+ -]+", expression)) and not set(words(expression)) - PERMISSIVE - {"MPL-2.0"}


def words(expression: str) -> list[str]:
    return [word for word in re.findall(r"[\w.+-]+", expression) if word not in ("AND", "OR", "WITH")]


def is_permissive(expression: str) -> bool:
    """Whether an SPDX expression can be met by permissive licences alone."""
    if not is_understood(expression):
        return False
    truth = re.sub(r"[\w.+-]+", lambda word: _truth(word[0]), expression)
    return bool(eval(truth, {}))


def _truth(word: str) -> str:
    return {"AND": "and", "OR": "or", "WITH": "and"}.get(word, str(word in PERMISSIVE))


@pytest.mark.parametrize(
    ("expression", "is_fine"),
    [
        ("MIT", True),
        ("Apache-2.0 WITH LLVM-exception AND (MIT OR MPL-2.0)", True),
        ("MPL-2.0 AND (Apache-2.0 OR MIT)", False),
        ("GPL-3.0-only", False),
        ("LGPL-2.1-or-later OR MIT", False),
        ("unknown", False),
        ("UNKNOWN", False),
        ("__import__('os')", False),
    ],
)
def test_licences_are_told_apart(expression: str, is_fine: bool) -> None:
    assert is_permissive(expression) is is_fine


def test_all_that_comes_with_the_package_is_permissive() -> None:
    licences = {name: licence(package.metadata) for name, package in core_set().items()}
    assert len(licences) > len(CORE)
    wrong = {name: text for name, text in licences.items() if not is_permissive(text)}
    unexpected = {name: text for name, text in wrong.items() if name not in KNOWN and not name.startswith(CUDA)}
    assert not unexpected, f"not permissive or unknown: {unexpected}"
    direct = {key(requirements.Requirement(text).name) for text in CORE}
    assert not direct & wrong.keys()
    assert {licences[name] for name in KNOWN.keys() & wrong.keys()} <= {
        "MPL-2.0", "MPL-2.0 AND MIT", "MPL-2.0 AND (Apache-2.0 OR MIT)",
    }  # fmt: skip


def test_every_dependency_is_bounded_on_both_sides() -> None:
    groups = {"core": CORE, "build": PROJECT["build-system"]["requires"], **PROJECT["project"]["optional-dependencies"]}
    for group, texts in groups.items():
        for text in texts:
            signs = {bound.operator for bound in requirements.Requirement(text).specifier}
            assert ">=" in signs, f"{group}: {text}"
            assert "<" in signs, f"{group}: {text}"


def test_a_wheel_builds_twice_to_the_same_bytes_and_holds_what_it_needs(tmp_path: Path) -> None:
    pytest.importorskip("hatchling")
    bodies = []
    for name, zone in (("one", "UTC"), ("two", "Asia/Tokyo")):
        (tmp_path / name).mkdir()
        code = "import sys; from hatchling.build import build_wheel; build_wheel(sys.argv[1])"
        settings = os.environ | {"SOURCE_DATE_EPOCH": "1700000000", "TZ": zone}
        subprocess.run([sys.executable, "-c", code, tmp_path / name], cwd=ROOT, env=settings, check=True)
        (wheel,) = (tmp_path / name).iterdir()
        bodies.append(wheel.read_bytes())
    assert bodies[0] == bodies[1]
    names = set(zipfile.ZipFile(wheel).namelist())
    shipped = {f"restore/_weights/{path.name}" for path in (ROOT / "weights").iterdir()}
    assert {f"{name}.safetensors" for name in tomllib.loads((ROOT / "weights" / "manifest.toml").read_text())} <= {
        Path(name).name for name in shipped
    }
    sources = {path.relative_to(ROOT).as_posix() for path in (ROOT / "restore").rglob("*.py")}
    data = {"restore/noise/level.json", "restore/noise/mosaic.json", "restore/presets/night.toml"}
    data |= {"restore/py.typed", "restore/_page.py"}
    assert shipped | sources | data <= names
    assert not [name for name in names if "__pycache__" in name or name.startswith(("tests", "runs"))]
