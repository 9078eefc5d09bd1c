"""Plugins are asked as pluggy would ask them, without its costs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from proxy.errors import Filtered
from proxy.mapping.plugins import Plugins
from tests.mapping.plugin_files import load
from tests.support import make_config, make_message

SOURCE = make_config().sources[0].public()
GIVEN = {"message": make_message("group"), "source": SOURCE, "campaign": "a campaign"}


def ask(plugins: Plugins) -> Any:
    """`map_group`, which no built-in answers."""
    answer = plugins.asking("map_group")(*GIVEN.values())
    assert answer == plugins.hook.map_group(**GIVEN)
    return answer


@pytest.mark.parametrize(
    "parameters",
    ["", "message", "source", "campaign", "message, source", "campaign, message",
     "message, source, campaign", "campaign, source, message"],
)  # fmt: skip
def test_a_function_is_given_what_it_names_in_its_order(parameters: str, tmp_path: Path) -> None:
    plugins = load(tmp_path, vip=f"@hookimpl\ndef map_group({parameters}): return [{parameters}]\n")
    assert ask(plugins) == [GIVEN[name] for name in parameters.split(", ") if name]


def answers(name: str, answer: object, mark: str = "") -> str:
    said = f"said.append({name!r}); return {answer!r}"
    return f"from tests.mapping.test_asking import said\n@hookimpl{mark}\ndef map_group(): {said}\n"


said: list[str] = []


@pytest.mark.parametrize(
    ("marks", "order"),
    [
        (("", "", ""), "cba"),
        (("(tryfirst=True)", "", ""), "acb"),
        (("", "", "(trylast=True)"), "bac"),
        (("(tryfirst=True)", "(trylast=True)", "(tryfirst=True)"), "cab"),
    ],
    ids=["loaded", "first", "last", "both"],
)
def test_plugins_are_asked_in_pluggys_order(
    marks: tuple[str, ...], order: str, tmp_path: Path
) -> None:
    names = {name: answers(name, None, mark) for name, mark in zip("abc", marks, strict=True)}
    plugins = load(tmp_path, None, **names)
    said.clear()
    assert plugins.asking("map_group")(*GIVEN.values()) is None
    assert "".join(said) == order
    said.clear()
    plugins.hook.map_group(**GIVEN)
    assert "".join(said) == order


@pytest.mark.parametrize("answer", ["b", 0, False, "", []], ids=repr)
def test_whatever_is_not_none_ends_the_asking(answer: object, tmp_path: Path) -> None:
    plugins = load(tmp_path, a=answers("a", "a"), b=answers("b", answer), c=answers("c", None))
    said.clear()
    assert plugins.asking("map_group")(*GIVEN.values()) == answer
    assert said == ["c", "b"]
    assert ask(plugins) == answer


def test_a_hook_that_no_plugin_has_is_answered_by_none(tmp_path: Path) -> None:
    assert ask(load(tmp_path)) is None


def test_a_wrapper_still_stands_around_all_others(tmp_path: Path) -> None:
    wrapper = """
        @hookimpl(wrapper=True)
        def map_group(campaign, message):
            return [message.message_id, campaign, (yield)]
        """
    plugins = load(tmp_path, a=wrapper, b=answers("b", "answer"))
    assert ask(plugins) == ["m-1", "a campaign", "answer"]


def test_what_a_plugin_raises_comes_out_as_it_is(tmp_path: Path) -> None:
    plugins = load(
        tmp_path, a=answers("a", "a"), b="@hookimpl\ndef map_group(): raise Filtered('b')\n"
    )
    said.clear()
    with pytest.raises(Filtered, match="b") as caught:
        plugins.asking("map_group")(*GIVEN.values())
    assert Path(str(caught.traceback[-1].path)).name == "b.py"
    assert said == []


def test_one_who_asks_since_before_is_heard_by_a_listener_and_only_then(tmp_path: Path) -> None:
    plugins = load(tmp_path, a=answers("a", "a"), b=answers("b", None))
    asking = plugins.asking("map_group")
    heard: list[tuple[str, str, object]] = []
    with plugins.listening(lambda *heard_: heard.append(heard_)):
        assert asking(*GIVEN.values()) == "a"
    assert asking(*GIVEN.values()) == "a"
    assert heard == [("map_group", "b.py", None), ("map_group", "a.py", "a")]
