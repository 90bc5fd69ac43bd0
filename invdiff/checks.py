"""Checks of option values: the parameter, its value and the allowed range in one sentence."""

import difflib
import math
from collections.abc import Iterable


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


def nearest(word: str, known: Iterable[str]) -> str:
    """A sentence that names the nearest known words and lists them all."""
    known = sorted(known)
    close = difflib.get_close_matches(word, known, n=3, cutoff=0.5)
    guess = f" Did you mean {' or '.join(map(repr, close))}?" if close else ""
    return f"{guess} There is: {', '.join(known)}."
