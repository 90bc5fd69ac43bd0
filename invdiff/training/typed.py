"""value : type, for what a configuration file can hold: numbers, text, lists, sections and choices."""

import dataclasses
import types
from collections.abc import Mapping, Sequence
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from invdiff.checks import nearest

_NAMES = {int: "a whole number", float: "a number", str: "text", bool: "true or false", dict: "a section"}


def checked(wanted: Any, value: Any, key: str) -> Any:
    """`value` as an annotation says: whole numbers pass as numbers, lists become tuples, sections their dataclass.

    Raises:
        ValueError: another type, or an unknown key in a section; says what was wanted under which key.
    """
    origin, arguments = get_origin(wanted), get_args(wanted)
    if dataclasses.is_dataclass(wanted):
        return _section(wanted, value, f"{key}." if key else "")
    if origin is Literal:
        if value not in arguments:
            raise ValueError(f"{key} must be {' or '.join(map(repr, arguments))}, got {value!r}.")
        return value
    if origin in (Union, types.UnionType):
        return checked(next(a for a in arguments if a is not type(None)), value, key)
    if origin in (tuple, Sequence):
        return _items(arguments if origin is tuple else (*arguments, ...), value, key)
    return _scalar(origin or wanted, value, key)


def known_keys(known: Mapping[str, Any], given: Mapping[str, Any], prefix: str) -> None:
    """Refuse keys that are not known.

    Raises:
        ValueError: names the nearest known ones.
    """
    for key in given:
        if key not in known:
            raise ValueError(f"unknown key {prefix + key!r}.{nearest(key, known)}")


def _section(kind: Any, value: Any, prefix: str) -> Any:
    if not isinstance(value, Mapping):
        raise ValueError(f"{prefix.rstrip('.')} must be a section, got {value!r}.")
    hints = get_type_hints(kind)
    known_keys(hints, value, prefix)
    return kind(**{key: checked(hints[key], item, prefix + key) for key, item in value.items()})


def _items(kinds: tuple[Any, ...], value: Any, key: str) -> tuple[Any, ...]:
    if not isinstance(value, list | tuple):
        raise ValueError(f"{key} must be a list, got {value!r}.")
    if kinds[-1] is Ellipsis:
        kinds = kinds[:1] * len(value)
    if len(kinds) != len(value):
        raise ValueError(f"{key} must be a list of {len(kinds)} values, got {value!r}.")
    return tuple(checked(kind, item, f"{key}[{i}]") for i, (kind, item) in enumerate(zip(kinds, value, strict=True)))


def _scalar(kind: type[Any], value: Any, key: str) -> Any:
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        raise ValueError(f"{key} must be {_NAMES.get(kind, kind.__name__)}, got {value!r}.")
    return value
