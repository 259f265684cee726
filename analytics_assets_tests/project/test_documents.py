"""What the documents point at: files, headings and tests that there are."""

import re
from pathlib import Path

import pytest

from analytics_assets_tests.support.checkout import CHECKOUT

DOCUMENTS = sorted(
    path.relative_to(CHECKOUT).as_posix() for path in (*CHECKOUT.glob("*.md"), *(CHECKOUT / "docs").rglob("*.md"))
)


def anchors(document: Path) -> set[str]:
    """The anchors of a document's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", document.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("name", DOCUMENTS)
def test_links_lead_to_files_and_headings(name: str) -> None:
    document = CHECKOUT / name
    for link in re.findall(r"\]\(([^)\s]+)\)", document.read_text(encoding="utf-8")):
        if not link.startswith(("http:", "https:", "mailto:")):
            path, _, anchor = link.partition("#")
            target = (document.parent / path).resolve() if path else document
            assert target.exists(), link
            assert not anchor or anchor in anchors(target), link


@pytest.mark.parametrize("name", DOCUMENTS)
def test_files_and_tests_that_are_named_exist(name: str) -> None:
    files = {path.name for path in CHECKOUT.rglob("*.py") if ".venv" not in path.parts}
    text = (CHECKOUT / name).read_text(encoding="utf-8")
    assert set(re.findall(r"`(?:[\w/]+/)?(\w+\.py)`", text)) <= files | {"<name>.py"}
    tests = "".join(path.read_text(encoding="utf-8") for path in (CHECKOUT / "analytics_assets_tests").rglob("*.py"))
    assert [name for name in re.findall(r"`(test_\w+)`", text) if f"def {name}(" not in tests] == []
