"""DataError: a file that cannot be used, with the place of the fault."""

from os import PathLike, fspath


class DataError(ValueError):
    """What was found in a file, what was expected, and what to do next.

    Attributes:
        path: the file, or None.
        dataset: the name inside the file, or None.
        slice: the slice index, or None.
    """

    def __init__(
        self,
        message: str,
        *,
        path: str | PathLike[str] | None = None,
        dataset: str | None = None,
        slice: int | None = None,
    ) -> None:
        self.path = None if path is None else fspath(path)
        self.dataset, self.slice = dataset, slice
        parts = [
            self.path,
            None if dataset is None else f"dataset '{dataset}'",
            None if slice is None else f"slice {slice}",
        ]
        place = ", ".join(p for p in parts if p is not None)
        super().__init__(f"{place}: {message}" if place else message)
