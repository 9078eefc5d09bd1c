from __future__ import annotations

import re

import pytest

from proxy import errors
from proxy.errors import ConfigError, Problem, ProxyError


def test_the_tree_in_the_docstring_is_the_tree_of_the_classes() -> None:
    path: list[str] = []
    drawn = {}
    for line in (errors.__doc__ or "").splitlines():
        match = re.match(r"(?P<branch>[│├└─ ]*)(?P<name>[A-Z]\w+)(?:\s|$)", line)
        if match and hasattr(errors, match["name"]):
            depth = -(-len(match["branch"]) // 4)
            path[depth:] = [match["name"]]
            drawn[match["name"]] = path[depth - 1] if depth else "Exception"
    real = {
        name: each.__bases__[0].__name__
        for name, each in vars(errors).items()
        if isinstance(each, type) and issubclass(each, ProxyError)
    }
    assert drawn == real


@pytest.mark.parametrize(
    ("problem", "text"),
    [
        (Problem("a.toml", "server.port", "is wrong", "write 1"),
         "a.toml: server.port: is wrong\n    mend: write 1"),
        (Problem("a.toml", "", "is wrong"), "a.toml: is wrong"),
        (Problem("", "", "is wrong"), "is wrong"),
    ],
    ids=["whole", "without key", "bare"],
)  # fmt: skip
def test_a_problem_reads_as_place_what_and_mend(problem: Problem, text: str) -> None:
    assert str(problem) == text


def test_a_config_error_takes_plain_sentences_from_plugins() -> None:
    error = ConfigError("no such group", Problem("f", "k", "w"))
    assert error.problems == (Problem("", "", "no such group"), Problem("f", "k", "w"))
    assert str(error) == "no such group\nf: k: w"
