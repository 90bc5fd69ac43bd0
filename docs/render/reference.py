"""Parts of the reference that follow from dictionaries of the library."""

from invdiff.solvers import METHODS


def methods() -> list[str]:
    """The function of every method, where it is defined."""
    functions = [method.function for method in METHODS.values()]
    lines = [f".. autofunction:: {f.__module__}.{f.__qualname__}" for f in functions]
    return ["```{eval-rst}", *lines, "```", ""]
