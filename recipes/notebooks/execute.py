"""A script cell by cell, as Jupyter runs a notebook: a figure on the last line of a cell is shown, here: saved.

    python execute.py 01_first_reconstruction.py FIGURES

writes FIGURES/01_first_reconstruction-1.png and so on. The network is closed. `run.py` calls this for every tutorial.
"""

import ast
import sys
import types
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.figure import Figure
from pair import cells


def main() -> None:
    script, figures = (Path(argument) for argument in sys.argv[1:])
    sys.path.remove(str(Path(__file__).parent))  # a tutorial sees what its reader sees
    matplotlib.use("agg")
    sys.addaudithook(closed_network)
    shown = execute(script)
    for number, figure in enumerate(shown, 1):
        figure.savefig(figures / f"{script.stem}-{number}.png", dpi=100)
    print(f"{len(shown)} figures")


def execute(script: Path) -> list[Figure]:
    """Run the script as the module `__main__`; returns the figures that its cells end with."""
    text = script.read_text("utf-8")
    starts = [cell.line for cell in cells(text)]
    module = types.ModuleType("__main__")
    module.__file__ = str(script)
    sys.modules["__main__"] = module  # classes that the script defines are found there when they are pickled
    shown = []
    for group in by_cell(ast.parse(text, str(script)).body, starts):
        value = run_cell(group, module.__dict__, str(script))
        shown += [value] if isinstance(value, Figure) else []
    return shown


def by_cell(statements: list[ast.stmt], starts: list[int]) -> list[list[ast.stmt]]:
    """The statements of every cell, from the lines that the cells begin on."""
    ends = [*starts[1:], sys.maxsize]
    return [[s for s in statements if start <= s.lineno < end] for start, end in zip(starts, ends, strict=True)]


def run_cell(statements: list[ast.stmt], namespace: dict[str, Any], name: str) -> Any:
    """Run the statements; returns the value of the last one if it is an expression, else None."""
    last = statements[-1] if statements else None
    if not isinstance(last, ast.Expr):
        exec(compile(ast.Module(statements, []), name, "exec"), namespace)
        return None
    exec(compile(ast.Module(statements[:-1], []), name, "exec"), namespace)
    return eval(compile(ast.Expression(last.value), name, "eval"), namespace)


def closed_network(event: str, arguments: tuple[Any, ...]) -> None:
    """Refuse connections to other machines: a tutorial downloads nothing."""
    if event == "socket.connect" and isinstance(arguments[1], tuple):
        raise ConnectionError(f"a tutorial must not use the network, and this one calls {arguments[1]}.")


if __name__ == "__main__":
    main()
