"""The documents as data: their code blocks, headings, tables and links."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

ROOT: Final = Path(__file__).parents[2]
FILES: Final = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")),
    *sorted((ROOT / "docs").rglob("*.md")),
]

_FENCED = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
_HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)
_LINK = re.compile(r"\]\(([^)\s]+)\)|^\[[\w-]+\]: (\S+)$", re.MULTILINE)
_PLUGIN_FILE = re.compile(r"# plugins\.d/(\w+\.py)\n")


class Block(NamedTuple):
    """A fenced code block; `place` is its file and line."""

    place: str
    language: str
    text: str

    @property
    def plugin_file(self) -> str | None:
        """The name that a plugin's first line gives it."""
        match = _PLUGIN_FILE.match(self.text)
        return match[1] if match else None


def name(file: Path) -> str:
    return str(file.relative_to(ROOT))


def blocks(language: str) -> list[Block]:
    return [
        Block(f"{name(file)}:{text[: match.start()].count(chr(10)) + 1}", language, match[2])
        for file in FILES
        for text in [file.read_text()]
        for match in _FENCED.finditer(text)
        if match[1] == language
    ]


def plugin_blocks() -> dict[str, str]:
    """The source of every plugin in the documents, by file name."""
    return {file: block.text for block in blocks("python") if (file := block.plugin_file)}


def prose(file: Path) -> str:
    return _FENCED.sub("", file.read_text())


def headings(file: Path) -> list[str]:
    return _HEADING.findall(prose(file))


def anchors(file: Path) -> set[str]:
    """As GitHub makes them: lower case, punctuation dropped, spaces to hyphens."""
    plain = (re.sub(r"[^\w\- ]", "", heading.lower()) for heading in headings(file))
    return {heading.replace(" ", "-") for heading in plain}


def links(file: Path) -> list[str]:
    """Targets within the repository."""
    targets = (first or second for first, second in _LINK.findall(prose(file)))
    return [to for to in targets if not to.startswith(("http://", "https://"))]


def rows(file: Path) -> Iterator[tuple[str, list[str]]]:
    """Every row of every table, with the heading that it stands under."""
    heading = ""
    for line in file.read_text().splitlines():
        if line.startswith("#"):
            heading = line.lstrip("# ")
        elif line.startswith("| "):
            yield heading, [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
