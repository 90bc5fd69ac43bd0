"""Pickled networks, read as records of names, numbers and tensors; nothing that the file carries is ever run.

A pickle is a program. It is run by an unpickler that knows a handful of globals, all of them replaced by inert
stand-ins: objects of the file become `Record`s, and Python source that is embedded (EDM snapshots) is dropped.
Everything else is refused by name. Before that the program is scanned for sizes that its length cannot pay for.
"""

import mmap
import pickle
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from invdiff.priors.pickled_objects import Dictionary, Fixed, Inert, Number, Record
from invdiff.priors.pickled_tensors import STORAGES, Archive, Array, Storage, Tensors, read_storage, scan

MAX_BYTES = 16 * 2**30
RECONSTRUCT = "_reconstruct_persistent_obj"  # the hook of EDM snapshots, from whatever module it came
FAULTS = (
    ValueError,
    TypeError,
    LookupError,
    AttributeError,
    EOFError,
    RuntimeError,  # among them too deep nesting, and zip files of other versions
    OverflowError,
    zipfile.BadZipFile,
)


def read_pickle(path: Path) -> Any:
    """The contents of a pickle: plain containers, numbers, strings, tensors (on the CPU) and `Record`s.

    Raises:
        ValueError: it is truncated or no pickle, needs a global that is not admitted (named), or declares more than it
            holds.
    """
    return _read(path, None)


def read_inert(path: Path) -> tuple[Any, list[str]]:
    """The contents of a pickle, or of what `torch.save` wrote, with an `Inert` for everything that is not known.

    Returns:
        the contents, and the names of what stands in for code; none of it was imported or run.

    Raises:
        ValueError: it is truncated or nothing of the kind, or declares more than it holds.
    """
    names: set[str] = set()
    return _read(path, names), sorted(names)


def _read(path: Path, unknown: set[str] | None) -> Any:
    size = path.stat().st_size
    if not 0 < size <= MAX_BYTES:
        raise ValueError(f"{path} has {size} bytes; a pickled network has 1 to {MAX_BYTES}.")
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as view:
            archive = Archive(file) if zipfile.is_zipfile(file) else None
            program: Any = view if archive is None else archive.program()
            scan(program, size)
            program.seek(0)
            return _Resolver().resolve(_Unpickler(program, archive, unknown).load())
    except pickle.UnpicklingError as error:
        raise ValueError(f"{path} is not read: {error}. Nothing of it was run.") from error
    except FAULTS as error:
        raise ValueError(f"{path} ({size} bytes) is truncated, altered or no pickle: {error}.") from error


def is_module(value: object) -> bool:
    """Whether a value of a pickle is a network."""
    return isinstance(value, Record) and isinstance(value.state.get("_parameters"), Mapping)


def module_tensors(record: Record) -> dict[str, Tensor]:
    """The tensors of a pickled module under the names its state dictionary would have.

    Raises:
        ValueError: it is not a module, or holds one module twice.
    """
    return dict(_named(record, "", set()))


def _named(record: Record, prefix: str, seen: set[int]) -> Iterator[tuple[str, Tensor]]:
    parameters, buffers, modules = (record.state.get(name) for name in ("_parameters", "_buffers", "_modules"))
    if not (isinstance(parameters, Mapping) and isinstance(buffers, Mapping) and isinstance(modules, Mapping)):
        raise ValueError(f"a {record.kind} is no pickled network.")
    if id(record) in seen:
        raise ValueError(f"the pickled network holds its part {prefix.rstrip('.')} twice; such files are not read.")
    seen.add(id(record))
    hidden = record.state.get("_non_persistent_buffers_set")
    hidden = hidden if isinstance(hidden, (list, tuple, set, frozenset)) else ()
    for name, value in {**parameters, **buffers}.items():
        if isinstance(value, Tensor) and isinstance(name, str) and name not in hidden:
            yield f"{prefix}{name}", value
    for name, module in modules.items():
        if isinstance(module, Record) and isinstance(name, str):
            yield from _named(module, f"{prefix}{name}.", seen)


class _Unpickler(pickle.Unpickler):
    """Runs a pickle with stand-ins for the globals it names.

    Args:
        archive: where the numbers of tensors are, if not in the pickle.
        unknown: takes the names of what stands in for code; None refuses globals that are not known.
    """

    def __init__(self, file: Any, archive: Archive | None, unknown: set[str] | None) -> None:
        super().__init__(file)
        self.archive, self.unknown = archive, unknown

    def find_class(self, module: str, name: str) -> Any:
        if name == RECONSTRUCT:
            return self._noted(module, name, self._persistent)
        if module.startswith("torch.nn.modules.") and name.isidentifier():
            return self._noted(module, name, Fixed(name, (Record,), {}))
        if module == "torch" and name in STORAGES and self.archive is not None:
            return STORAGES[name]
        known = {
            ("collections", "OrderedDict"): Dictionary,
            ("dnnlib.util", "EasyDict"): Dictionary,
            ("torch._utils", "_rebuild_tensor_v2"): self._tensor,
            ("torch._utils", "_rebuild_parameter"): self._parameter,
            ("torch.storage", "_load_from_bytes"): self._storage,
            ("_codecs", "encode"): self._encode,
            ("__builtin__", "set"): self._set,
            ("builtins", "set"): self._set,
            ("numpy", "dtype"): Number,
            ("numpy.core.multiarray", "scalar"): self._scalar,
            ("numpy._core.multiarray", "scalar"): self._scalar,
        }
        if (module, name) in known:
            return known[module, name]
        if self.unknown is None:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}, which could run code")
        return self._noted(module, name, Fixed(name, (Inert,), {}))

    def _noted(self, module: str, name: str, stand_in: Any) -> Any:
        if self.unknown is not None:
            self.unknown.add(f"{module}.{name}")
        return stand_in

    def persistent_load(self, key: Any) -> Any:
        if self.archive is None:
            raise pickle.UnpicklingError("it refers to data outside the file")
        return self.archive.storage(key)

    # Stand-ins are bound methods: unlike functions, they have no attributes that a pickle could replace.

    def _persistent(self, meta: Any) -> Record:
        return Record.of(meta["class_name"], meta["state"])

    def _tensor(self, storage: object, offset: object, size: object, stride: object, *rest: object) -> Array:
        return Array(storage, offset, size, stride)

    def _parameter(self, data: object, *rest: object) -> object:
        return data

    def _storage(self, data: object) -> Storage:
        return read_storage(data)

    def _set(self, items: object = ()) -> object:
        """Its items, not copied."""
        return items

    def _encode(self, text: Any, code: object) -> bytes:
        """Bytes as pickles of protocol 2 write them; only those of numbers, so that no step copies much."""
        if code != "latin1" or len(text) > 64:
            raise pickle.UnpicklingError("it holds bytes as text, as pickles of protocol 2 do; save it with protocol 4")
        return bytes(text.encode("latin1"))

    def _scalar(self, kind: Any, data: object) -> Any:
        return kind.value(data)


class _Resolver:
    """Makes the tensors in nested containers, each container once however often it is referred to."""

    def __init__(self) -> None:
        self.tensors = Tensors()
        self.done: dict[int, tuple[Any, Any]] = {}

    def resolve(self, value: Any) -> Any:
        if isinstance(value, Array):
            return self.tensors.make(value)
        if not isinstance(value, (Record, dict, list, tuple)) or isinstance(value, Storage):
            return value
        if id(value) not in self.done:
            self.done[id(value)] = value, None  # the value is kept so that no other takes its place
            self.done[id(value)] = value, self._resolved(value)
        return self.done[id(value)][1]

    def _resolved(self, value: Any) -> Any:
        if isinstance(value, Record):
            return Record.of(value.kind, self.resolve(value.state))
        if isinstance(value, dict):
            return {key: self.resolve(item) for key, item in value.items()}
        return type(value)(self.resolve(item) for item in value)
