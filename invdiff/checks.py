"""Checks of option values: the parameter, its value and the allowed range in one sentence."""

import difflib
import math
from collections.abc import Iterable
from numbers import Integral

_KINDS = {int: "a whole number", float: "a number", bool: "True or False"}  # by annotation


def require(
    name: str,
    value: float,
    *,
    above: float | None = None,
    at_least: float | None = None,
    at_most: float | None = None,
) -> None:
    """Refuse a number outside its range.

    Raises:
        ValueError: names the parameter, the range and the value.
    """
    bounds = []
    if above is not None:
        bounds.append((f"above {above:g}", value > above))
    if at_least is not None:
        bounds.append((f"at least {at_least:g}", value >= at_least))
    if at_most is not None:
        bounds.append((f"at most {at_most:g}", value <= at_most))
    if math.isnan(value) or not all(ok for _, ok in bounds):
        raise ValueError(f"{name} must be {' and '.join(text for text, _ in bounds)}, got {value:g}.")


def require_kind(name: str, value: object, kind: object) -> None:
    """Refuse a value that is plainly not of the annotated kind: int, float or bool; any other passes.

    Raises:
        TypeError: names the parameter, the kind and the value.
    """
    flag, no_number = isinstance(value, bool), value is None or isinstance(value, str)
    fits = {int: isinstance(value, Integral) and not flag, float: not (flag or no_number), bool: not no_number}
    if kind in _KINDS and not fits[kind]:
        raise TypeError(f"{name} must be {_KINDS[kind]}, got {value!r}.")


def nearest(word: str, known: Iterable[str]) -> str:
    """A sentence that names the nearest known words and lists them all."""
    known = sorted(known)
    close = difflib.get_close_matches(word, known, n=3, cutoff=0.5)
    guess = f" Did you mean {' or '.join(map(repr, close))}?" if close else ""
    return f"{guess} There is: {', '.join(known) or 'none'}."
