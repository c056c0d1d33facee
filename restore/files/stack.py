"""Pages that are read when they are asked for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import overload

from restore.picture import Picture


class Stack(Sequence[Picture]):
    """The pages of a file; none is kept in memory.

    Parameters
    ----------
    sizes
        Height and width of each page.
    read
        Reads the page of a number, from 0.
    """

    def __init__(self, sizes: Sequence[tuple[int, int]], read: Callable[[int], Picture]) -> None:
        self.sizes, self._read = tuple(sizes), read

    def __len__(self) -> int:
        return len(self.sizes)

    @overload
    def __getitem__(self, index: int) -> Picture: ...
    @overload
    def __getitem__(self, index: slice) -> list[Picture]: ...
    def __getitem__(self, index: int | slice) -> Picture | list[Picture]:
        numbers = range(len(self.sizes))[index]
        return self._read(numbers) if isinstance(numbers, int) else [self._read(number) for number in numbers]
