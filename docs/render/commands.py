"""The help of every command, as it prints it."""

import argparse
import os
from functools import cache
from unittest.mock import patch

from invdiff.cli import make_parser


@cache
def parsers() -> dict[str, argparse.ArgumentParser]:
    """`invdiff` and its commands, by what one types."""
    whole = make_parser()
    (commands,) = (a for a in whole._actions if isinstance(a, argparse._SubParsersAction))
    return {"invdiff": whole, **{f"invdiff {name}": parser for name, parser in commands.choices.items()}}


def text(call: str) -> str:
    """What `CALL --help` prints on a terminal of 100 columns, without colours."""
    with patch.dict(os.environ, {"COLUMNS": "100", "NO_COLOR": "1"}):
        return parsers()[call].format_help()


def help_of(*words: str) -> list[str]:
    """The help as a block of code."""
    return ["```text", f"$ {' '.join(words)} --help", *text(" ".join(words)).splitlines(), "```", ""]
