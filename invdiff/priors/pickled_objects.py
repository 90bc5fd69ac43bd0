"""What stands for the objects of a pickle: records of names and attributes, of which nothing can run.

Their classes cannot be changed by the pickle, and none of them copies or prints what it is given, so that a small file
cannot make much of itself.
"""

import pickle
from typing import Any

import torch

NUMBERS = {"b1": torch.bool, "i4": torch.int32, "i8": torch.int64, "f4": torch.float32, "f8": torch.float64}


class Fixed(type):
    """Classes that a pickle cannot change."""

    def __setattr__(cls, name: str, value: object) -> None:
        raise pickle.UnpicklingError(f"it tries to change the class {cls.__name__}")


class Record(metaclass=Fixed):
    """An object of the file.

    Attributes:
        kind: name of its class.
        state: attributes by name.
    """

    kind: str
    state: dict[str, Any]

    def __new__(cls) -> "Record":
        record = super().__new__(cls)
        record.kind, record.state = cls.__name__, {}
        return record

    @staticmethod
    def of(kind: object, state: object) -> "Record":
        """The record with these attributes."""
        if not isinstance(kind, str):
            raise pickle.UnpicklingError("the name of a class is no string")
        record = Record()
        record.kind = kind
        record.__setstate__(state)
        return record

    def __setstate__(self, state: object) -> None:
        if not isinstance(state, dict):
            raise pickle.UnpicklingError(f"the attributes of a {self.kind} are no dictionary")
        self.state = state


class Inert(Record):
    """An object or function that a file asks for and that is not known here; it only keeps what it gets.

    Attributes:
        state: its attributes; where it has none, under "arguments" and "items" what it was called with and given.
    """

    def __new__(cls, *arguments: Any, **options: Any) -> "Inert":
        record = super().__new__(cls)
        record.state = {"arguments": arguments}
        return record  # type: ignore[return-value]

    def __init__(self, *arguments: Any, **options: Any) -> None: ...

    def __setstate__(self, state: object) -> None:
        self.state = state if isinstance(state, dict) else {"attributes": state}

    def __setitem__(self, key: object, value: object) -> None:
        self.append((key, value))

    def append(self, item: object) -> None:
        self.state.setdefault("items", []).append(item)

    def extend(self, items: Any) -> None:
        for item in items:
            self.append(item)


class Dictionary(dict, metaclass=Fixed):  # type: ignore[type-arg]
    """Ordered and attribute dictionaries; made empty and filled item by item, so that no step copies many items."""

    def __init__(self) -> None:
        super().__init__()


class Number(metaclass=Fixed):
    """A NumPy type: its code and, once known, its byte order."""

    def __init__(self, code: Any, *flags: object) -> None:
        self.code, self.order = code.lstrip("<>=|"), code[:1]

    def __setstate__(self, state: Any) -> None:
        self.order = state[1]

    def value(self, data: object) -> Any:
        kind = NUMBERS.get(self.code)
        if kind is None or self.order == ">" or not isinstance(data, bytes) or len(data) != kind.itemsize:
            raise pickle.UnpicklingError(f"it holds a NumPy scalar of type {self.code[:9]!r}")
        return torch.frombuffer(bytearray(data), dtype=kind).item()
