"""Whatever a document names exists, and whatever a user meets is named in one."""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import msgspec
import pytest

from proxy.config import Config, PluginSettings, Section
from proxy.decode import REASONS
from proxy.mapping.hookspecs import Hooks
from proxy.mapping.plugins import HOOKS
from tests.docs.documents import FILES, ROOT, anchors, headings, links, name, prose, rows

SOURCES = [*sorted((ROOT / "proxy").rglob("*.py")), *sorted((ROOT / "plugins").glob("*.py"))]
OPERATING = ROOT / "docs" / "operating.md"


@pytest.mark.parametrize("file", FILES, ids=name)
def test_links_lead_somewhere(file: Path) -> None:
    for link in links(file):
        path, _, anchor = link.partition("#")
        target = (file.parent / path).resolve() if path else file
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


@pytest.mark.parametrize("file", FILES, ids=name)
def test_references_are_defined(file: Path) -> None:
    defined = re.findall(r"^\[([\w-]+)\]: ", prose(file), re.MULTILINE)
    assert set(re.findall(r"\]\[([\w-]+)\]", prose(file))) == set(defined)


def test_documents_and_sections_that_the_code_names_exist() -> None:
    for file in [*SOURCES, ROOT / "config.toml", ROOT / "plugins.d" / "README.md"]:
        named = re.findall(r'(?<![\w/])(docs/[\w/-]+\.md)(?:, "([^"]+)")?', file.read_text())
        for document, section in named:
            assert (ROOT / document).exists(), (name(file), document)
            assert not section or section in headings(ROOT / document), (name(file), section)


def test_documents_name_no_file_of_the_source_that_is_not_there() -> None:
    for file in FILES:
        for named in re.findall(r"`((?:proxy|plugins|tests|spool)/[\w/]+\.py)`", file.read_text()):
            places = (ROOT / named, ROOT / "proxy" / named)
            assert any(place.exists() for place in places), (name(file), named)


@pytest.mark.parametrize("hook", HOOKS)
def test_every_hook_has_a_section_with_its_parameters(hook: str) -> None:
    parameters = list(inspect.signature(getattr(Hooks, hook)).parameters)[1:]
    assert f"{hook}({', '.join(parameters)})" in headings(ROOT / "docs" / "hooks.md")


def test_hooks_stand_in_the_order_of_the_contract() -> None:
    sections = [heading.partition("(")[0] for heading in headings(ROOT / "docs" / "hooks.md")]
    assert [section for section in sections if section in HOOKS] == list(HOOKS)


def settings(section: type[Section], key: str) -> Iterator[tuple[str, str, str]]:
    """The table, key and default of every setting, as the document should show them."""
    for field in msgspec.structs.fields(section):
        types = (field.type, *get_args(field.type))
        inner = next((each for each in types if _is_section(each)), None)
        if inner is not None:
            heading = f"[{field.name}]" if inner is field.type else f"[[{field.name}]]"
            yield from settings(inner, heading)
        elif field.required:
            yield key, f"`{field.name}`", "required"
        else:
            yield key, f"`{field.name}`", f"`{_as_toml(section, field.name)}`"


def _is_section(type_: Any) -> bool:
    return isinstance(type_, type) and issubclass(type_, Section)


def _as_toml(section: type[Section], field: str) -> str:
    required = {each.name: "" for each in msgspec.structs.fields(section) if each.required}
    return msgspec.json.encode(getattr(section(**required), field)).decode()


def test_every_setting_is_documented_with_its_default_and_no_other() -> None:
    told = {
        (heading, cells[0], cells[1])
        for heading, cells in rows(ROOT / "docs" / "configuration.md")
        if cells[0].startswith("`")
    }
    assert told == set(settings(Config, ""))
    assert ("[plugins]", "`directory`", f'`"{PluginSettings().directory}"`') in told


def literals(*callees: str) -> Iterator[str]:
    """The first text given to any of these functions anywhere in the source."""
    for file in SOURCES:
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Call) and ast.unparse(node.func) in callees:
                yield from (
                    each.value
                    for each in node.args
                    if isinstance(each, ast.Constant)
                    and isinstance(each.value, str)
                    and re.fullmatch(r"[a-z_]+[a-z0-9_]+", each.value)
                )


def counted_as(counts: str) -> Iterator[str]:
    """The keys that are set in any dict of this name anywhere in the source."""
    for file in SOURCES:
        for node in ast.walk(ast.parse(file.read_text())):
            match node:
                case ast.Subscript(
                    value=ast.Attribute(attr=name) | ast.Name(id=name),
                    slice=ast.Constant(str(key)),
                    ctx=ast.Store(),
                ) if name == counts:
                    yield key


LOGGED = sorted({
    *literals("_log.info", "_log.warning", "_log.error", "_log.exception", "_log.critical"),
    *literals("self._say"),
})  # fmt: skip
REJECTED = sorted({*literals("Refused"), *REASONS.values(), *counted_as("rejected"), "empty_batch"})
FILTERED = sorted({*literals("Filtered", "Filter"), "loop", "consent", "integrations"})
RETRIED = sorted(
    {*literals("TransportError", "Outcome", "Hold")}
    - {"delivered", "retry", "refused", "misconfigured"}
)
DEAD = sorted(set(literals("Fail")))


@pytest.mark.parametrize("word", [*LOGGED, *REJECTED, *FILTERED, *RETRIED, *DEAD])
def test_every_log_event_and_reason_is_explained_to_operators(word: str) -> None:
    assert f"`{word}`" in OPERATING.read_text()


def test_the_search_for_reasons_finds_them() -> None:
    """Else the test above would hold for nothing."""
    assert {"listening", "delivery_retried"} <= set(LOGGED)
    assert {"no_user_anon_id", "message_too_large", "unknown_source"} <= set(REJECTED)
    assert {"nothing_to_link", "unmapped"} <= set(FILTERED)
    assert {"timeout", "success_not_1"} <= set(RETRIED)
    assert {"undecodable", "not_encodable"} <= set(DEAD)


def test_decisions_are_numbered_without_gaps_listed_and_of_one_form() -> None:
    folder = ROOT / "docs" / "decisions"
    files = sorted(folder.glob("0*.md"))
    assert [int(file.name[:4]) for file in files] == list(range(1, len(files) + 1))
    assert links(folder / "README.md") == [file.name for file in files]
    for file in files:
        title, *parts = headings(file)
        assert title.startswith(f"{int(file.name[:4])}. "), file.name
        assert parts == ["Context", "Decision", "Consequence"], file.name
