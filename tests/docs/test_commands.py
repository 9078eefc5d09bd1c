"""Every command line of the documents can be typed as it stands."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from proxy.cli.main import main
from tests.docs.documents import FILES, ROOT, Block, blocks, name


def command_lines(block: Block) -> Iterator[list[str]]:
    """The words behind each `kochava-proxy` of a block, up to a pipe."""
    for line in block.text.replace("\\\n", " ").splitlines():
        match = re.search(r"(?:^|[\s/=])kochava-proxy( [^|]*)?$", line)
        if match and match[1]:
            yield shlex.split(match[1], comments=True)


COMMAND_LINES = [
    pytest.param(words, id=f"{block.place} {' '.join(words)}")
    for language in ("sh", "ini")
    for block in blocks(language)
    for words in command_lines(block)
]


@pytest.mark.parametrize("words", COMMAND_LINES)
def test_a_command_line_in_a_document_can_be_typed(
    words: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    command: click.Command = main
    while isinstance(command, click.Group):
        found = command.commands.get(words[0])
        assert found is not None, words
        command, words = found, words[1:]
    # As below `main`, whose -h is one of each command's: click makes and keeps that at first use.
    parent = click.Context(main, **main.context_settings)
    with command.make_context(command.name, list(words), parent=parent):
        pass  # unknown options, wrong values and files of the repository that are not there raise


@pytest.mark.parametrize("file", FILES, ids=name)
def test_commands_named_in_prose_exist(file: Path) -> None:
    for named in re.findall(r"`kochava-proxy ([a-z]+)", file.read_text()):
        assert named in main.commands, named


def commands_of(group: click.Group, before: str = "") -> Iterator[str]:
    for command in group.commands.values():
        path = f"{before} {command.name}".strip()
        if isinstance(command, click.Group):
            yield from commands_of(command, path)
        else:
            yield path


@pytest.mark.parametrize("command", list(commands_of(main)))
def test_every_command_is_shown_in_a_document(command: str) -> None:
    shown = [words for param in COMMAND_LINES for words in param.values]
    length = len(command.split())
    assert any(isinstance(words, list) and words[:length] == command.split() for words in shown)


def test_make_targets_named_in_documents_exist() -> None:
    targets = set(re.findall(r"^([\w.$()/]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    targets = {target.replace("$(VENV)", ".venv") for target in targets}
    for file in FILES:
        for target in re.findall(r"(?:`|^)make ([\w./]+)", file.read_text(), re.MULTILINE):
            assert target in targets, (name(file), target)
