"""Code of a Markdown page, run as a reader would run it: blocks in their order, in one namespace."""

import doctest
import re
import sys
from types import ModuleType

BLOCK = re.compile(r"^```(python|pycon)\n(.*?)^```$", re.DOTALL | re.MULTILINE)


class Failed(AssertionError):
    """What a session printed is not what the page shows."""


def run(text: str, name: str) -> dict[str, object]:
    """Run all `python` and `pycon` blocks in a module of this name; what they leave behind.

    Raises:
        Failed: the first example of a session that prints something else; errors of scripts pass through.
    """
    module = ModuleType(re.sub(r"\W", "_", name))
    sys.modules[module.__name__] = module  # so that classes of the page can be pickled
    try:
        for kind, code in BLOCK.findall(text):
            if kind == "python":
                exec(compile(code, name, "exec"), vars(module))
            else:
                session(code, name, vars(module))
    finally:
        del sys.modules[module.__name__]
    return vars(module)


def session(code: str, name: str, names: dict[str, object]) -> None:
    """Run one interactive session; what it assigns goes into `names`."""
    test = doctest.DocTestParser().get_doctest(code, names, name, name, 0)
    said: list[str] = []
    done = doctest.DocTestRunner(verbose=False).run(test, out=said.append, clear_globs=False)
    names.update(test.globs)
    if done.failed:
        raise Failed("".join(said))
