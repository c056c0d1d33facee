"""What control a knob of a method gets: decided by the field of its settings and nothing else."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin

from pydantic.fields import FieldInfo

from restore.method import Method


class Kind(StrEnum):
    """Controls that knobs can have."""

    SLIDER = "slider"
    NUMBER = "number"
    CHOICE = "choice"
    CHECK = "check"
    TEXT = "text"
    FILE = "file"
    """Uploaded: there is one place for the file of whichever method runs, the value ``"file"``."""
    FOLDER = "folder"
    """No control: folders of the server are no visitor's business."""


@dataclass(frozen=True)
class Knob:
    """A control to be drawn.

    Parameters
    ----------
    key
        ``method_knob``: unique on the page, and the parameter's name for programs that call it.
    step
        Of a slider or number; 1 for integers.
    choices
        Of a choice, as the settings know them.
    """

    key: str
    name: str
    kind: Kind
    label: str
    help: str
    default: Any
    low: float | None = None
    high: float | None = None
    step: float | None = None
    choices: tuple[Any, ...] = ()


def knobs(method: Method) -> Iterator[Knob]:
    """Yield the controls of a method's settings in their order."""
    for name, field in method.settings.model_fields.items():
        yield _knob(method.name, name, field)


def _knob(method: str, name: str, field: FieldInfo) -> Knob:
    low = next((m.ge for m in field.metadata if hasattr(m, "ge")), None)
    high = next((m.le for m in field.metadata if hasattr(m, "le")), None)
    kind, choices, step = _kind(field.annotation, has_range=low is not None and high is not None)
    if isinstance(field.json_schema_extra, dict):
        kind = Kind(str(field.json_schema_extra["names"]))
    if step is None and low is not None and high is not None:
        step = 0.01 if high - low <= 2 else 0.05
    label = name.replace("_", " ").capitalize()
    return Knob(f"{method}_{name}", name, kind, label, field.description or "", field.default, low, high, step, choices)


def _kind(annotation: Any, *, has_range: bool) -> tuple[Kind, tuple[Any, ...], float | None]:
    """Return the control for a type, its choices, and its step if the type decides it.

    >>> _kind(bool, has_range=False), _kind(int, has_range=True)
    ((<Kind.CHECK: 'check'>, (), None), (<Kind.SLIDER: 'slider'>, (), 1))
    """
    if get_origin(annotation) in (Union, UnionType):
        annotation = next(part for part in get_args(annotation) if part is not type(None))
        return _kind(annotation, has_range=False)
    if get_origin(annotation) is Literal:
        return Kind.CHOICE, get_args(annotation), None
    if annotation is bool:
        return Kind.CHECK, (), None
    if annotation in (int, float):
        return (Kind.SLIDER if has_range else Kind.NUMBER), (), (1 if annotation is int else None)
    return Kind.TEXT, (), None


def chosen(method: Method, values: Mapping[str, Any]) -> tuple[str, ...]:
    """Return what differs from the defaults, as the command's ``--set`` would say it.

    >>> from restore import methods
    >>> chosen(methods.get("wavelet"), {"wavelet_threshold": 1.5, "wavelet_shifts": 0, "none_x": 1})
    ('wavelet.threshold=1.5',)
    """
    given = [(knob, values.get("file" if knob.kind is Kind.FILE else knob.key)) for knob in knobs(method)]
    return tuple(
        f"{method.name}.{knob.name}={json.dumps(value)}"
        for knob, value in given
        if value is not None and value != knob.default
    )
