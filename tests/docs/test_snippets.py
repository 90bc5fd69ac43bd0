"""Every snippet of the pages runs as it stands; a page that is wrong is seen."""

import re
from pathlib import Path

import pytest

from tests.docs.snippets import BLOCK, Failed, run

DOCS = Path(__file__).parents[2] / "docs"
PAGES = sorted(p for p in DOCS.rglob("*.md") if not {"_build", "generated", "tutorials"} & set(p.parts))
WITH_CODE = [page for page in PAGES if BLOCK.search(page.read_text(encoding="utf8"))]


@pytest.mark.parametrize("page", WITH_CODE, ids=lambda page: page.relative_to(DOCS).as_posix())
def test_snippets_run(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    run(page.read_text(encoding="utf8"), page.name)


def test_the_pages_that_teach_have_code() -> None:
    names = {page.relative_to(DOCS).as_posix() for page in WITH_CODE}
    assert {"result.md", "conventions.md", "coming-from.md", "operators/algebra.md", "priors/index.md"} <= names


def test_no_block_is_of_a_kind_that_is_not_run() -> None:
    """Code of others stands in `{code-block}`; what is ours is run, shown by the shell, or plain text."""
    for page in PAGES:
        kinds = set(re.findall(r"^```([\w{}-]+)", page.read_text(encoding="utf8"), re.MULTILINE))
        assert kinds <= {"python", "pycon", "sh", "text"} | {k for k in kinds if k.startswith("{")}, page


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("```python\nx = 1\n```\n\n```python\ny = z\n```\n", NameError),
        ("```pycon\n>>> 1 + 1\n3\n\n```\n", Failed),
        ("```python\nraise ValueError\n```\n", ValueError),
    ],
)
def test_a_wrong_page_is_seen(text: str, error: type[Exception]) -> None:
    with pytest.raises(error):
        run(text, "planted.md")


def test_blocks_share_their_names() -> None:
    assert run("```pycon\n>>> a = 1\n\n```\n\n```python\nb = a + 1\n```\n", "page.md")["b"] == 2
