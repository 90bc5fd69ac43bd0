"""Recipes as modules."""

import importlib
from pathlib import Path
from types import ModuleType

import pytest

RECIPES = Path(__file__).parents[2] / "recipes"


def recipe(name: str) -> ModuleType:
    """recipes/NAME.py; its neighbours are imported as when it is run."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(RECIPES))
        return importlib.import_module(name)
