"""A hook stands only with its documentation, a test, and someone who implements it."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import pytest

from proxy.mapping.hookspecs import OBSERVERS, Hooks
from proxy.mapping.plugins import HOOKS, load_plugins
from tests.support import make_config

ROOT = Path(__file__).parents[2]
TESTS = "\n".join(file.read_text(encoding="utf-8") for file in (ROOT / "tests").rglob("*.py"))

#: Hooks that no built-in plugin answers, each for a reason that its docstring gives.
UNANSWERED = {"map_group", "map_alias", *OBSERVERS}


def test_the_hooks_are_those_of_the_contract() -> None:
    parameters = {
        hook: list(inspect.signature(getattr(Hooks, hook)).parameters)[1:] for hook in HOOKS
    }
    mapping = ["message", "source", "campaign"]
    assert parameters == {
        "configure": ["config", "settings"],
        "drop_reason": ["message", "source"],
        "campaign_context": ["message", "source"],
        "map_track": mapping,
        "map_identify": mapping,
        "map_screen": mapping,
        "map_page": mapping,
        "map_group": mapping,
        "map_alias": mapping,
        "map_postback": ["postback", "source", "identity"],
        "delivery_attempted": ["message", "request", "outcome", "attempt"],
        "event_settled": ["message", "settlement"],
    }


@pytest.mark.parametrize("hook", HOOKS)
def test_a_hook_is_typed_and_has_a_docstring(hook: str) -> None:
    specification = getattr(Hooks, hook)
    assert inspect.getdoc(specification)
    signature = inspect.signature(specification)
    assert signature.return_annotation is not signature.empty
    named = list(signature.parameters.values())[1:]
    assert all(parameter.annotation is not parameter.empty for parameter in named)


@pytest.mark.parametrize("hook", HOOKS)
def test_a_hook_is_documented_with_its_parameters(hook: str) -> None:
    page = (ROOT / "docs" / "hooks.md").read_text(encoding="utf-8")
    assert re.search(rf"\b{hook}\b", page)
    for parameter in list(inspect.signature(getattr(Hooks, hook)).parameters)[1:]:
        assert re.search(rf"\b{parameter}\b", page), parameter


@pytest.mark.parametrize("hook", HOOKS)
def test_a_hook_is_implemented_by_a_plugin_of_some_test(hook: str) -> None:
    assert re.search(rf"def {hook}\(", TESTS)


def test_every_mapping_hook_has_a_built_in_that_answers(tmp_path: Path) -> None:
    loaded = load_plugins(make_config(), tmp_path)
    assert {hook for hook in HOOKS if not loaded.answering(hook)} == UNANSWERED
