"""How a kind of file is opened, with the options that it has."""

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from invdiff.checks import nearest

C = TypeVar("C")


@dataclass(frozen=True)
class Format(Generic[C]):
    """One kind of file.

    Attributes:
        summary: what it holds, for the help of `invdiff reconstruct`.
        open: function (path, **options) -> contents.
    """

    summary: str
    open: Callable[..., C]

    def opened(self, name: str, path: Path, options: dict[str, Any]) -> C:
        """The contents of a file of this format, which is called `name`.

        Raises:
            DataError: the file cannot be used. TypeError: an option that the format does not have.
        """
        known = list(inspect.signature(self.open).parameters)[1:]
        for option in options:
            if option not in known:
                raise TypeError(f"{path}: {name} files have no option {option!r}.{nearest(option, known)}")
        return self.open(path, **options)
