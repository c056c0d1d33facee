"""The registry is this folder's listing: every module holds one ``METHOD``."""

from __future__ import annotations

from functools import cache
from importlib import import_module
from pkgutil import iter_modules

from restore.errors import RecipeError, nearest
from restore.method import Method


@cache
def registry() -> dict[str, Method]:
    """Return every method by name, in alphabetical order."""
    found = (import_module(f"{__name__}.{module.name}").METHOD for module in iter_modules(__path__))
    return {method.name: method for method in found}


def get(name: str) -> Method:
    """Return a method by name.

    Raises
    ------
    RecipeError
        There is none of that name; the message suggests the nearest.
    """
    try:
        return registry()[name]
    except KeyError:
        raise RecipeError(f"there is no method {name!r}.{nearest(name, registry())}") from None
