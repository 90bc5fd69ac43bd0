"""Tensors inside pickles: descriptions (storage, offset, size, stride), checked before memory is spent on them."""

import io
import math
import pickle
import pickletools
import zipfile
from typing import Any, NamedTuple

import torch
from torch import Tensor

MAX_STEPS = 5_000_000  # of a pickle; a network of a thousand tensors takes some 50 000
STORAGES = {
    "FloatStorage": torch.float32,
    "DoubleStorage": torch.float64,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
}


class Storage(NamedTuple):
    """`numel` numbers that begin at byte `start` of `data`."""

    data: bytes
    start: int
    kind: torch.dtype
    numel: int


class Array(NamedTuple):
    """A tensor as a pickle describes it; checked when it is made."""

    storage: Any
    offset: Any
    size: Any
    stride: Any


def scan(file: Any, size: int) -> None:
    """Refuse a pickle that is too long, or that makes the unpickler reserve more than `size` bytes could fill.

    It reserves its table of remembered objects up to the highest index, so indices must not run ahead of the steps.

    Args:
        file: binary file or memory map at the start of the pickle; left behind its end.

    Raises:
        pickle.UnpicklingError: as said. ValueError: it is truncated or no pickle.
    """
    for step, (operation, value, _) in enumerate(pickletools.genops(file)):
        if step > MAX_STEPS:
            raise pickle.UnpicklingError(f"it takes more than {MAX_STEPS} steps to rebuild")
        limit = {"PUT": step, "BINPUT": step, "LONG_BINPUT": step, "FRAME": size}.get(operation.name)
        if limit is not None and int(str(value)) > limit:
            raise pickle.UnpicklingError(f"its step {step}, {operation.name} {value}, declares more than it holds")


def read_storage(data: object) -> Storage:
    """The numbers in what `torch.save(storage)` wrote in its first format: five pickles, the count, the bytes.

    Raises:
        pickle.UnpicklingError: it declares other numbers than it holds, or is something else.
    """
    if not isinstance(data, bytes):
        raise pickle.UnpicklingError("a storage is not made of bytes")
    file = io.BytesIO(data)
    head = [_Head.next(file) for _ in range(5)][3]  # magic number, version, machine, storage, list of storages
    _, kind, _, _, count, *_ = head
    stored, start = int.from_bytes(file.read(8), "little"), file.tell()
    if kind not in STORAGES.values() or count != stored or start + stored * kind.itemsize > len(data):
        raise pickle.UnpicklingError(f"a storage declares {stored} numbers and does not hold them")
    return Storage(data, start, kind, stored)


class Archive:
    """The zip file that `torch.save` writes: a pickle, and the numbers of each storage in a member of its own."""

    def __init__(self, file: Any) -> None:
        self.zip = zipfile.ZipFile(file)
        found = [name for name in self.zip.namelist() if name.endswith("data.pkl")]
        if len(found) != 1:
            raise pickle.UnpicklingError("it is a zip file, but not of torch.save")
        self.root = found[0].removesuffix("data.pkl")
        self.done: dict[str, Storage] = {}

    def program(self) -> io.BytesIO:
        """The pickle."""
        return io.BytesIO(self._member("data.pkl"))

    def storage(self, key: Any) -> Storage:
        """The numbers of a storage that the pickle refers to.

        Raises:
            pickle.UnpicklingError: it declares more than its member holds, or is no reference to one.
        """
        kind, name, numel = (key[i] for i in (1, 2, 4))
        if kind not in STORAGES.values() or type(numel) is not int or not isinstance(name, str):
            raise pickle.UnpicklingError("it refers to something that is no storage")
        if name not in self.done:
            data = self._member(f"data/{name}")
            if not 0 <= numel * kind.itemsize <= len(data):
                raise pickle.UnpicklingError(f"a storage declares {numel} numbers and does not hold them")
            self.done[name] = Storage(data, 0, kind, numel)
        return self.done[name]

    def _member(self, name: str) -> bytes:
        member = self.zip.getinfo(self.root + name)
        if member.compress_type != zipfile.ZIP_STORED:
            raise pickle.UnpicklingError("its parts are compressed, which torch.save never does")
        return self.zip.read(member)


class Tensors:
    """Makes tensors of arrays; arrays of one storage share its memory."""

    def __init__(self) -> None:
        self.storages: dict[int, tuple[bytes, Tensor]] = {}

    def make(self, array: Array) -> Tensor:
        """The tensor.

        Raises:
            pickle.UnpicklingError: it is larger than its storage.
        """
        storage, offset, size, stride = array
        if not isinstance(storage, Storage) or not all(type(n) is int and n >= 0 for n in (offset, *size, *stride)):
            raise pickle.UnpicklingError("a tensor is not described by a storage and numbers")
        numel, last = math.prod(size), offset + sum((n - 1) * s for n, s in zip(size, stride, strict=True))
        if numel > storage.numel or (numel and last >= storage.numel):
            raise pickle.UnpicklingError(
                f"a tensor {tuple(size)} declares more than the {storage.numel} numbers it has"
            )
        return self._numbers(storage).as_strided(size, stride, offset)

    def _numbers(self, storage: Storage) -> Tensor:
        key = id(storage.data)
        if key not in self.storages:
            copy = bytearray(storage.data[storage.start : storage.start + storage.numel * storage.kind.itemsize])
            numbers = torch.frombuffer(copy, dtype=storage.kind) if copy else torch.empty(0, dtype=storage.kind)
            self.storages[key] = storage.data, numbers  # the bytes are kept so that no others take their place
        return self.storages[key][1]


class _Head(pickle.Unpickler):
    """What precedes the numbers of a storage: numbers, a dictionary, and a reference to them."""

    @classmethod
    def next(cls, file: io.BytesIO) -> Any:
        at = file.tell()
        scan(file, file.getbuffer().nbytes)
        file.seek(at)
        return cls(file).load()

    def find_class(self, module: str, name: str) -> Any:
        if module != "torch" or name not in STORAGES:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}, which could run code")
        return STORAGES[name]

    def persistent_load(self, key: Any) -> Any:
        return key
