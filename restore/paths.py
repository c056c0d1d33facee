"""What lies at a path; where the system does not tell, nothing does.

Up to Python 3.13, ``Path.is_file`` and its like raise there (no permission, a name too long), and one such file ends
a whole run. Whoever opens it hears why it cannot be.
"""

from __future__ import annotations

import os
from pathlib import Path


def is_file(path: Path | str) -> bool:
    """Whether it is a file, or a link to one."""
    return os.path.isfile(path)  # noqa: PTH113 - bears all errors


def is_folder(path: Path | str) -> bool:
    """Whether it is a folder, or a link to one."""
    return os.path.isdir(path)  # noqa: PTH112 - bears all errors


def is_there(path: Path | str) -> bool:
    """Whether there is anything of this name, be it a link that leads nowhere.

    >>> is_there(400 * "x")
    False
    """
    return os.path.lexists(path)
