"""What is installed is what is in the folders, from a checkout, an editable install and a wheel alike."""

import json
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest

import invdiff

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib  # comes with pytest there

ROOT = Path(__file__).parents[1]
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf8"))
SETUP = PROJECT["tool"]["setuptools"]
ROOTS = {"invdiff": "invdiff", "invdiff.operators": "operators", "invdiff.data": "data"}
INSTALL_TEST = "python -m pip install -c constraints.txt -e '.[test]' && python -m pytest"
INSTALL_DEMO = "python -m pip install -c constraints.txt . && invdiff demo"

IMPORT_ALL = """
import importlib, json, pkgutil, sys
from pathlib import Path

names = []
for package in json.loads(sys.argv[1]):
    path = importlib.import_module(package).__path__
    names += [package, *(f"{package}.{m.name}" for m in pkgutil.iter_modules(path))]
for name in names:
    if not name.endswith("__main__"):
        importlib.import_module(name)

def twice():
    places = {}
    for name, module in list(sys.modules.items()):
        file = getattr(module, "__file__", None)
        if file and name != "__main__":
            places.setdefault(Path(file).resolve(), []).append(name)
    return sorted(sorted(names) for file, names in places.items() if Path(sys.argv[2]) in file.parents and names[1:])

found = {"twice": twice(), "files": sorted(str(sys.modules[n].__file__) for n in names if n in sys.modules)}
if "operators" not in sys.modules and Path("operators/base.py").exists():
    sys.path.insert(0, "")
    importlib.import_module("operators.base")
    found["planted"] = twice()
print(json.dumps(found))
"""


def packages_in(root: Path) -> set[str]:
    """Dotted names of all folders with Python files below the three roots; links are not followed."""
    return {
        ".".join([package, *file.parent.relative_to(root / folder).parts])
        for package, folder in ROOTS.items()
        for file in (root / folder).rglob("*.py")
    }


def folder_of(package: str) -> str:
    """Where a package lives in the checkout, with / between the parts."""
    root = max((r for r in ROOTS if package == r or package.startswith(r + ".")), key=len)
    return "/".join([ROOTS[root], *package.removeprefix(root).strip(".").split(".")]).rstrip("/")


def run(command: list[str], cwd: Path, **kwargs: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, encoding="utf8", **kwargs)


def import_all(cwd: Path, setup: str = "", isolated: bool = False) -> dict[str, Any]:
    """Import every module in a fresh interpreter; modules loaded twice, and where all came from."""
    flags = ["-I"] if isolated else []
    done = run([sys.executable, *flags, "-c", setup + IMPORT_ALL, json.dumps(SETUP["packages"]), str(ROOT)], cwd)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def test_package_list_equals_the_folders() -> None:
    assert sorted(SETUP["packages"]) == sorted(packages_in(ROOT))


def test_every_package_has_an_init() -> None:
    for package in SETUP["packages"]:
        assert (ROOT / folder_of(package) / "__init__.py").is_file(), package


def test_map_names_the_folders() -> None:
    for package, folder in SETUP["package-dir"].items():
        assert folder == folder_of(package)
    assert {"invdiff.operators", "invdiff.data"} <= set(SETUP["package-dir"])


def test_forgotten_folder_is_seen(tmp_path: Path) -> None:
    for folder in ("invdiff", "operators", "data", "operators/extra"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "__init__.py").touch()
    assert "invdiff.operators.extra" in packages_in(tmp_path)


def test_package_data_covers_the_data_folders() -> None:
    stray = [p for p in (ROOT / "data").rglob("*") if p.is_file() and p.suffix not in (".py", ".pyc")]
    assert {p.parent for p in stray} <= {ROOT / "data" / "weights", ROOT / "data" / "samples"}
    assert set(SETUP["package-data"]["invdiff.data"]) == {"weights/*", "samples/*"}
    assert set(SETUP["package-data"]["invdiff"]) == {"py.typed", "tuned.toml"}
    assert all((ROOT / "invdiff" / name).is_file() for name in SETUP["package-data"]["invdiff"])


@pytest.mark.parametrize("name", ["operators", "data"])
def test_links_are_committed_and_relative(name: str) -> None:
    if not (ROOT / ".git").exists():
        pytest.skip("not a git checkout")
    entry = run(["git", "ls-files", "-s", f"invdiff/{name}"], ROOT).stdout
    assert entry.startswith("120000 "), f"invdiff/{name} is not committed as a link: {entry!r}"
    assert run(["git", "cat-file", "blob", f":invdiff/{name}"], ROOT).stdout == f"../{name}"


def test_data_is_not_ignored() -> None:
    if not (ROOT / ".git").exists():
        pytest.skip("not a git checkout")
    assert run(["git", "check-ignore", "--no-index", "data/new.py", "data/weights/new.safetensors"], ROOT).stdout == ""


def test_version_is_said_once() -> None:
    assert invdiff.__version__ == PROJECT["project"]["version"]
    citation = (ROOT / "CITATION.cff").read_text(encoding="utf8")
    assert f"version: {invdiff.__version__}\n" in citation
    assert f"## {invdiff.__version__}" in (ROOT / "CHANGELOG.md").read_text(encoding="utf8")


def test_no_module_is_loaded_twice() -> None:
    """Every module imports with the core dependencies, and none under the bare names `operators` or `data`."""
    found = import_all(ROOT)
    assert found["twice"] == []
    assert ["invdiff.operators.base", "operators.base"] in found["planted"], "the check does not see a second import"


@pytest.mark.parametrize(
    ("line", "banned"),
    [
        ("import operators", True),
        ("from operators.base import Operator", True),
        ("from data import masks", True),
        ("import data.masks", True),
        ("from invdiff.operators.base import Operator", False),
        ("from invdiff.data import masks", False),
    ],
)
def test_ruff_bans_the_bare_names(line: str, banned: bool) -> None:
    command = [sys.executable, "-m", "ruff", "check", "--select", "TID", "--no-cache", "--stdin-filename"]
    done = run([*command, "tests/test_x.py", "-"], ROOT, input=line + "\n")
    assert ("TID251" in done.stdout) == banned, done.stdout + done.stderr


def test_constraints_are_plain_pins() -> None:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf8").splitlines()
    pins = [line for line in lines if line and not line.startswith("#")]
    form = r"[A-Za-z0-9._-]+==[0-9][A-Za-z0-9.]*(; python_version >= \"3\.\d+\")?"
    assert [pin for pin in pins if not re.fullmatch(form, pin)] == []
    pinned = {pin.split("==")[0].lower().replace("_", "-") for pin in pins}
    extras = PROJECT["project"]["optional-dependencies"]
    wanted = PROJECT["project"]["dependencies"] + extras["test"]
    names = {re.split(r"[<>=; ]", name)[0].lower() for name in wanted}
    assert names - pinned == {"triton"}  # which torch's builds for CUDA pin, each to its own version


def test_one_set_of_commands() -> None:
    """README, continuous integration and pre-commit say the same."""
    readme = (ROOT / "README.md").read_text(encoding="utf8")
    ci = (ROOT / ".ci" / "run").read_text(encoding="utf8")
    hooks = re.findall(r"entry: (.+)", (ROOT / ".pre-commit-config.yaml").read_text(encoding="utf8"))
    assert INSTALL_TEST in readme
    assert INSTALL_TEST in ci
    assert INSTALL_DEMO in readme
    assert len(hooks) == 5
    assert [hook for hook in hooks if hook not in ci] == []


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    """The wheel built from the source distribution, which is built from a copy of the checkout without its links."""
    folder = tmp_path_factory.mktemp("build")
    skip = shutil.ignore_patterns(".git", ".*_cache", "__pycache__", "*.egg-info", "build", "dist", ".venv", "venv")
    links = {str(ROOT / "invdiff"): {"operators", "data"}}
    shutil.copytree(ROOT, folder / "tree", ignore=lambda f, names: {*skip(f, names), *links.get(str(f), ())})
    done = run([sys.executable, "-m", "build", "--outdir", str(folder / "dist"), str(folder / "tree")], folder)
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(list((folder / "dist").glob("*.tar.gz"))) == 1
    return zipfile.ZipFile(next((folder / "dist").glob("*.whl")))


@pytest.mark.slow
def test_wheel_holds_every_file(wheel: zipfile.ZipFile) -> None:
    wanted = {"invdiff/py.typed", "invdiff/tuned.toml"}
    for package in SETUP["packages"]:
        folder = ROOT / folder_of(package)
        files = [*folder.glob("*.py"), *folder.glob("weights/*"), *folder.glob("samples/*")]
        wanted |= {f"{package.replace('.', '/')}/{f.relative_to(folder).as_posix()}" for f in files if f.is_file()}
    held = {name for name in wheel.namelist() if ".dist-info/" not in name}
    assert held == wanted
    assert any(name.endswith("licenses/LICENSE") for name in wheel.namelist())


@pytest.mark.slow
def test_wheel_imports_far_from_the_checkout(wheel: zipfile.ZipFile, tmp_path: Path) -> None:
    wheel.extractall(tmp_path / "site")
    found = import_all(tmp_path, f"import sys; sys.path.insert(0, {str(tmp_path / 'site')!r})\n", isolated=True)
    assert {Path(file).is_relative_to(tmp_path / "site") for file in found["files"]} == {True}
