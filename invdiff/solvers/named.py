"""KEY or MODULE:FUNCTION: a method as a command line names it."""

import importlib
from collections.abc import Callable

from torch import Tensor

from invdiff.checks import nearest
from invdiff.solvers import METHODS

Solver = str | Callable[..., Tensor]
"""What `solve` takes as method."""


def method_named(text: str) -> Solver:
    """The key of `METHODS`, or the function of the solvers' form that is to be imported.

    Args:
        text: a key, or module:function with the module on Python's path (PYTHONPATH=FOLDER names a folder of yours).

    Raises:
        ValueError: no such key, module or function.
    """
    module, colon, function = text.partition(":")
    if not colon:
        if text not in METHODS:
            raise ValueError(f"unknown method {text!r}.{nearest(text, METHODS)} Your own is named module:function.")
        return text
    try:
        found = getattr(importlib.import_module(module), function)
    except ModuleNotFoundError as error:
        raise ValueError(f"{text}: {error}. Name its folder with PYTHONPATH=FOLDER.") from error
    except AttributeError as error:
        raise ValueError(f"{text}: {error}.") from error
    if not callable(found):
        raise ValueError(f"{text} is no function but a {type(found).__name__}.")
    return found
