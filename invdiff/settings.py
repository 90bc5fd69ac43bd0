"""OPTION=VALUE on a command line: names to Python values."""

import argparse
import ast
import math
from collections.abc import Sequence
from typing import Any


class UsageError(ValueError):
    """The command line asks for something that cannot be."""


def parse_settings(items: Sequence[str]) -> dict[str, Any]:
    """Values that read as Python literals (numbers, None, (0, 1), {"a": 1}) become such, all others are text.

    Raises:
        UsageError: an item without "=".
    """
    settings: dict[str, Any] = {}
    for item in items:
        name, equals, value = item.partition("=")
        if not equals:
            raise UsageError(f"--set takes OPTION=VALUE, got {item!r}.")
        try:
            settings[name] = ast.literal_eval(value)
        except (ValueError, SyntaxError):
            settings[name] = value
    return settings


def whole(text: str) -> int:
    """A whole number of 1 or more, as the type of an argument."""
    return _integer(text, 1, math.inf, "of 1 or more")


def seed(text: str) -> int:
    """A whole number that files can hold, of 64 bits, as the type of an argument."""
    return _integer(text, -(2**63), 2**63 - 1, "of at most 64 bits")


def _integer(text: str, low: int, high: float, wanted: str) -> int:
    try:
        value = int(text)
    except ValueError:
        value = None
    if value is None or not low <= value <= high:
        raise argparse.ArgumentTypeError(f"must be a whole number {wanted}, got {text!r}")
    return value


def positive(text: str) -> float:
    """A finite number above 0, as the type of an argument."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"must be a number above 0, got {text!r}")
    return value
