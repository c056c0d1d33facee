"""Who may import whom: only downward, siblings not at all."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
RANKS = {
    "errors": -1, "picture": 0, "memory": 0, "threads": 0, "ferry": 0, "paths": 0,
    "colour": 1, "tiling": 1, "nets": 1, "workers": 1, "seams": 1, "gain_map": 1,
    "noise": 2, "degrade": 2, "raw": 2, "metrics": 2, "weights": 2, "weight_import": 2, "files": 2, "objectives": 2,
    "camera": 2,
    "method": 3, "evidence": 3, "planes": 3, "uncertainty": 3,
    "methods": 4,
    "recipe": 5, "runtime": 5, "choose": 5, "result": 5, "pipeline": 5,
    "arrays": 6, "restore": 6, "jobs": 6,
    "train": 7, "cli": 7, "page": 7, "app": 8, "__main__": 8,
}  # fmt: skip
ALLOWED_SIBLINGS = {
    ("runtime", "recipe"),
    ("pipeline", "recipe"),
    ("pipeline", "runtime"),
    ("choose", "recipe"),
    ("pipeline", "choose"),
    ("pipeline", "result"),
    ("result", "recipe"),
    ("camera", "files"),
    ("restore", "arrays"),
    ("jobs", "arrays"),
}


def unit(module: str) -> str:
    parts = module.split(".")
    return parts[1] if len(parts) > 1 and parts[0] == "restore" else parts[0]


def imports(path: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module == "restore":
            found |= {f"restore.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
    return {unit(name) for name in found if name.split(".")[0] == "restore" and name != "restore"}


FILES = [*sorted((ROOT / "restore").rglob("*.py")), ROOT / "app.py"]


@pytest.mark.parametrize("path", [p for p in FILES if p.exists()], ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_go_downward(path: Path) -> None:
    relative = path.relative_to(ROOT)
    here = (
        "restore"
        if relative.name == "__init__.py" and len(relative.parts) == 2
        else unit(".".join(relative.with_suffix("").parts))
    )
    for other in imports(path) - {here}:
        if here == "train":
            assert RANKS[other] <= 4, f"{relative} imports {other}"
            continue
        is_below = RANKS[other] < RANKS[here] or (here, other) in ALLOWED_SIBLINGS
        assert is_below or here == "restore", f"{relative} (rank {RANKS[here]}) imports {other} (rank {RANKS[other]})"


def test_no_method_imports_another() -> None:
    for path in (ROOT / "restore" / "methods").glob("[!_]*.py"):
        assert "methods" not in imports(path), path.name


def test_modules_stay_small() -> None:
    for path in FILES:
        if path.exists():
            limit = 400 if "nets" in path.parts else 300
            assert len(path.read_text().splitlines()) <= limit, (
                f"{path.name} has outgrown its budget: a noun is missing"
            )
