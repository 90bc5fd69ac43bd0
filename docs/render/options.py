"""Options of a solver: name and default from its signature, meaning from the Args of its docstring."""

import inspect
import re
from collections.abc import Callable
from typing import Any

from docs.render.markdown import escaped, table
from invdiff.solve import RESERVED

NOTED = (
    "Figures in dB were noted while the defaults were chosen, and no recipe prints them; `recipes/tune.py` searches "
    "for options anew and prints what it finds."
)


def options(function: Callable[..., Any]) -> dict[str, Any]:
    """The keyword options that a user sets, with their defaults, in the order of the signature."""
    parameters = inspect.signature(function).parameters.values()
    return {p.name: p.default for p in parameters if p.kind is p.KEYWORD_ONLY and p.name not in RESERVED}


def meanings(function: Callable[..., Any]) -> dict[str, str]:
    """What the docstring says of each argument; one sentence may be about several: "lr, input_lr: its rates"."""
    found = re.search(r"^Args:\n(.*?)(?=^\S|\Z)", inspect.getdoc(function) or "", re.DOTALL | re.MULTILINE)
    text = " ".join(found.group(1).split()) if found else ""
    name = "|".join(sorted(map(re.escape, inspect.signature(function).parameters), key=len, reverse=True))
    heads = list(re.finditer(rf"(?:^|(?<=[.)] )|(?<=, )|(?<=; ))((?:{name})(?:, (?:{name}))*): ", text))
    ends = [head.start() for head in heads[1:]] + [len(text)]
    told: dict[str, str] = {}
    for head, end in zip(heads, ends, strict=True):
        told |= dict.fromkeys(head.group(1).split(", "), text[head.end() : end].strip().rstrip(","))
    return told


def options_table(function: Callable[..., Any]) -> list[str]:
    """The options as a Markdown table."""
    told = meanings(function)
    rows = [(f"`{name}`", f"`{shown(default)}`", escaped(told[name])) for name, default in options(function).items()]
    if not rows:
        return ["It has no options.", ""]
    noted = any(" dB" in meaning for _, _, meaning in rows)
    return [*table(("option", "default", "meaning"), rows), *([NOTED, ""] if noted else [])]


def shown(value: Any) -> str:
    """A default as one would type it, numbers to three digits."""
    return f"{value:.3g}" if isinstance(value, float) and len(repr(value)) > 8 else repr(value)
