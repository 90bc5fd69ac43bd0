"""OPTION=VALUE on a command line: names to Python values."""

import ast
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
