"""What README and docs say of the project is so: links, paths, names, keys, commands."""

import ast
import importlib
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml
from kedro.config import OmegaConfigLoader
from kedro.pipeline import Pipeline

from diffucoder import settings
from diffucoder.config.check import RENAMED
from diffucoder.config.labels import LabelledParams
from diffucoder.pipeline_registry import register_pipelines

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
PAGES = [
    README,
    *sorted((ROOT / "docs").glob("*.md")),
    *(ROOT / f"{name}.md" for name in ("CONTRIBUTING", "SECURITY")),
    *sorted((ROOT / "examples").glob("*.md")),
]
README_LINES = 160
LINE_LENGTH = 140
# GitHub resolves these itself, relative to the page's address.
BY_GITHUB = ("../../actions/", "../../issues", "../../security")

pages = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))


def blocks(text: str, language: str) -> list[str]:
    """The fenced blocks of a language."""
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.DOTALL | re.MULTILINE)


def prose(page: Path) -> str:
    """A page without its fenced blocks."""
    return re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.S | re.M)


def links(page: Path) -> Iterator[str]:
    """Targets of the links and pictures of a page that lie in the repository."""
    text = prose(page)
    found = re.findall(r"\]\(([^)\s]+)\)", text) + re.findall(r'(?:src|href)="([^"]+)"', text)
    for target in found:
        if not target.startswith(("http://", "https://", "mailto:", *BY_GITHUB)):
            yield target


def anchors(page: Path) -> set[str]:
    """The anchors that GitHub gives to the headings of a page."""
    headings = re.findall(r"^#+ (.+)$", prose(page), re.MULTILINE)
    plain = (re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading) for heading in headings)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in plain}


def code_spans(page: Path) -> list[str]:
    """What stands in backticks."""
    return re.findall(r"`([^`\n]+)`", prose(page))


@cache
def parameters() -> list[dict[str, Any]]:
    """The parameters of the base environment: written, with what labels mean, seen by a run."""
    written, seen = (
        loader(str(ROOT / "conf"), env="local", **settings.CONFIG_LOADER_ARGS)["parameters"]
        for loader in (OmegaConfigLoader, settings.CONFIG_LOADER_CLASS)
    )
    labelled = {name: written[name] for name in LabelledParams.model_fields}
    return [written, LabelledParams.model_validate(labelled).model_dump(), seen]


@cache
def pipelines() -> dict[str, Pipeline]:
    """All pipelines, by name."""
    return register_pipelines()


@cache
def resolves(name: str) -> bool:
    """Whether a dotted name is a module, or an attribute of one."""
    parts = name.split(".")
    for cut in range(len(parts), 0, -1):
        try:
            found: Any = importlib.import_module(".".join(parts[:cut]))
        except ModuleNotFoundError:
            continue
        for part in parts[cut:]:
            if not hasattr(found, part):
                return False
            found = getattr(found, part)
        return True
    return False


def is_parameter(path: str) -> bool:
    """Whether a dotted path leads to a key of the parameters."""
    return any(leads_somewhere(tree, path.split(".")) for tree in parameters())


def leads_somewhere(tree: Any, path: list[str]) -> bool:
    """Whether the keys are there, one below the other; an optional block ends the search."""
    for key in path:
        if tree is None:
            return True
        if not isinstance(tree, dict) or key not in tree:
            return False
        tree = tree[key]
    return True


def test_the_readme_is_short() -> None:
    lines = README.read_text(encoding="utf-8").splitlines()
    assert len(lines) <= README_LINES
    long = [
        number
        for number, line in enumerate(lines, 1)
        if len(line) > LINE_LENGTH and not line.startswith(("|", "[", "<")) and "](" not in line
    ]
    assert not long


@pages
def test_links_lead_somewhere(page: Path) -> None:
    for target in links(page):
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        assert file.exists(), target
        if anchor:
            assert anchor in anchors(file), target


def test_every_page_can_be_reached_from_the_readme() -> None:
    reached, waiting = set(), [README]
    while waiting:
        page = waiting.pop()
        reached.add(page)
        found = {(page.parent / target.partition("#")[0]).resolve() for target in links(page)}
        waiting += [f for f in found if f.suffix == ".md" and f not in reached]
    assert set(PAGES) <= reached


def test_pictures_are_shown_somewhere() -> None:
    shown = {(page.parent / target).resolve() for page in PAGES for target in links(page)}
    assert set((ROOT / "docs" / "images").iterdir()) <= shown


@pages
def test_paths_that_are_named_exist(page: Path) -> None:
    """`src/...` and the like from the root; `model/shift.py` from the package as well."""
    folders = ("src/", "tests/", "conf/", "benchmarks/", "docs/", "examples/", "notebooks/")
    for span in code_spans(page):
        is_path = span.startswith(folders) or re.fullmatch(r"[\w./]+\.(py|md|yml)", span)
        if not is_path or "/" not in span or re.search(r"[<>{}*\s]", span):
            continue
        if span.startswith(("conf/local", "conf/mine")):
            continue
        places = (ROOT, ROOT / "src" / "diffucoder")
        assert any((place / span).exists() for place in places), span


@pages
def test_modules_and_keys_that_are_named_exist(page: Path) -> None:
    tops = {key for tree in parameters() for key in tree}
    for span in code_spans(page):
        if not (found := re.match(r"[a-z_]\w*(\.\w+)+", span)):
            continue
        name = found[0]
        if name.startswith("diffucoder."):
            assert resolves(name), name
        elif name.split(".")[0] in tops and not name.endswith((".py", ".md", ".yml")):
            assert is_parameter(name) or resolves(f"diffucoder.{name}"), name


@pages
def test_commands_name_what_there_is(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    for name in re.findall(r"--pipeline=(\w+)", text):
        assert name in pipelines()
    nodes = {node.name for pipeline in pipelines().values() for node in pipeline.nodes}
    for name in re.findall(r"--from-nodes=([\w.]+)", text):
        assert name in nodes
    for changes in re.findall(r"--params=([\w.,=\[\]]+)", text):
        for path in re.findall(r"(?:^|,)([a-z_.]+)=", changes):
            assert is_parameter(path), path
    targets = set(re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for name in re.findall(r"`make (\w+)|^ +make (\w+)", text, re.MULTILINE):
        assert set(filter(None, name)) <= targets


def test_the_changelog_has_every_renamed_parameter() -> None:
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    for old, new in RENAMED.items():
        assert f"| `{old}` | `{new.partition(',')[0]}`" in text


@pages
def test_blocks_can_be_read(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    for block in blocks(text, "python"):
        tree = ast.parse(block)
        for line in ast.walk(tree):
            if isinstance(line, ast.ImportFrom) and (line.module or "").startswith("diffucoder"):
                for name in line.names:
                    assert resolves(f"{line.module}.{name.name}"), name.name
    for block in blocks(text, "yaml"):
        assert yaml.safe_load(block)
