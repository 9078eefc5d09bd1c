"""What docs/clients.md shows is sent as it stands; what it says of answers is what is answered."""

from __future__ import annotations

import ast
import asyncio
import hashlib
import hmac
import json
import re
import shlex
import sys
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import pytest
from yarl import URL

from proxy.decode import MAX_MESSAGE_ID
from proxy.receive import door, intake, listener, pressure, webhook
from proxy.receive.tracking import BATCH_PATHS, METRICS_PATH, SINGLE_PATHS
from tests.docs.conftest import WEBHOOK, Running
from tests.docs.documents import ROOT, Block, blocks, rows
from tests.receive.conftest import basic

PAGE = ROOT / "docs" / "clients.md"
OPERATING = ROOT / "docs" / "operating.md"
HOST = "https://events.example.com"
PYTHON_CLIENTS = [block for block in blocks("python") if "import segment" in block.text
                  or "from segment" in block.text]  # fmt: skip


def shown(language: str, part: str) -> str:
    """The one block of the page that holds `part`."""
    [text] = [
        block.text
        for block in blocks(language)
        if block.place.startswith("docs/clients.md") and part in block.text
    ]
    return text


def option(words: list[str], name: str) -> str:
    return words[words.index(name) + 1]


def test_the_python_clients_of_the_documents_are_found() -> None:
    """Else the next test would hold for nothing."""
    assert {client.place.split(":")[0] for client in PYTHON_CLIENTS} == {
        "README.md",
        "docs/clients.md",
    }


@pytest.mark.parametrize("client", PYTHON_CLIENTS, ids=lambda client: client.place)
async def test_a_python_client_gets_its_event_delivered(client: Block, running: Running) -> None:
    assert "http://127.0.0.1:8080" in client.text
    script = client.text.replace(":8080", f":{running.port}")
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", script)
    async with asyncio.timeout(30):
        assert await process.wait() == 0
        await running.narrator.settled.get()
    assert running.counts().delivered == 1


async def test_the_call_by_curl_gets_its_event_delivered(running: Running) -> None:
    words = shlex.split(shown("sh", "curl -u"))
    [url] = [word for word in words if word.startswith(HOST)]
    headers = {"Authorization": basic(option(words, "-u"))}
    async with aiohttp.ClientSession(headers=headers) as session:
        async with session.post(url.replace(HOST, running.url), data=option(words, "-d")) as answer:
            assert (answer.status, await answer.json()) == (200, {"success": True})
        async with asyncio.timeout(30):
            await running.narrator.settled.get()
    assert running.counts().delivered == 1


async def test_the_pixel_gets_an_image_and_its_message_is_taken(running: Running) -> None:
    match = re.search(r'src="([^"]+)"', shown("html", "<img"))
    assert match
    url = URL(match[1].replace(HOST, running.url), encoded=True)
    async with aiohttp.ClientSession() as session, session.get(url) as answer:
        assert (answer.status, answer.content_type) == (200, "image/gif")
    counts = running.counts()
    assert (counts.received, counts.rejected) == (1, {})


async def test_the_call_to_the_webhook_is_taken_with_its_signature_and_not_without(
    running: Running,
) -> None:
    script = shown("sh", "openssl dgst -sha1 -hmac")
    body = shlex.split(script.partition("\n")[0])[0].removeprefix("body=")
    assert '"X-Signature: $signature"' in script
    path = urlsplit(re.findall(rf'"({HOST}\S+)"', script)[0]).path
    url = running.url + path.replace("$ACME_WEBHOOK_TOKEN", WEBHOOK["webhook_token"])
    secret = WEBHOOK["webhook_secret"].encode()
    signature = hmac.new(secret, body.encode(), hashlib.sha1).hexdigest()
    async with aiohttp.ClientSession() as session:
        async with session.post(url, data=body) as answer:
            assert answer.status == 401
        async with session.post(url, data=body, headers={"X-Signature": signature}) as answer:
            assert answer.status == 200
    assert running.counts().received == 1


async def test_the_settings_are_those_shown(running: Running) -> None:
    url = f"{running.url}/v1/projects/wk_acme/settings"
    headers = {"Host": "events.example.com"}
    async with aiohttp.ClientSession() as session, session.get(url, headers=headers) as answer:
        got = await answer.json()
    expected = json.loads(shown("json", "apiHost"))
    integration = expected["integrations"]["Segment.io"]
    assert got["integrations"].keys() == {"Segment.io"}
    assert integration.items() <= got["integrations"]["Segment.io"].items()
    assert got["metrics"] == expected["metrics"]


async def test_every_path_in_the_documents_exists(running: Running) -> None:
    paths = set(re.findall(r"(/(?:v1|projects|health|openapi)[\w/.]*\w)", PAGE.read_text()))
    paths -= {"/v1"}  # a prefix
    assert {"/v1/projects/wk_acme/settings", "/openapi.json", "/v1/track"} <= paths
    async with aiohttp.ClientSession() as session:
        for path in sorted(paths):
            async with session.get(running.url + path) as answer:
                assert answer.status != 404, path


@pytest.mark.parametrize("name", [*SINGLE_PATHS, *BATCH_PATHS, METRICS_PATH])
def test_every_call_is_named_or_is_the_first_letter_of_one(name: str) -> None:
    beginning = PAGE.read_text().partition("## ")[0]
    assert f"`{name}`" in beginning or (name in SINGLE_PATHS and len(name) == 1)


def refusals() -> Iterator[tuple[int, str]]:
    """Status and code of every refusal in the source."""
    for file in (ROOT / "proxy" / "receive").glob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            match node:
                case ast.Call(
                    func=ast.Name("RequestRefused"),
                    args=[ast.Constant(int(status)), ast.Constant(str(code)), *_],
                ):
                    yield status, code


def answers() -> set[tuple[int, str]]:
    """Status and code of every row of the table of answers, each with each."""
    return {
        (int(status), code)
        for heading, cells in rows(PAGE)
        if heading == "Answers" and len(cells) == 3
        for status in re.findall(r"\b[2-5]\d\d\b", cells[0])
        for code in re.findall(r"`(\w+)`", cells[1])
    }


@pytest.mark.parametrize("refusal", sorted(set(refusals())), ids=str)
def test_every_refusal_stands_in_the_table_of_answers(refusal: tuple[int, str]) -> None:
    assert refusal in answers()


def test_the_table_of_answers_names_no_other_code() -> None:
    of_aiohttp = {"not_found", "method_not_allowed"}
    assert {code for _, code in answers()} == {code for _, code in refusals()} | of_aiohttp


def cells(file: Any, heading: str) -> str:
    return "\n".join(" | ".join(cells) for under, cells in rows(file) if under == heading)


@pytest.mark.parametrize(
    "limit",
    [
        f"{intake.MAX_MESSAGE // 1024} KB for a single call",
        f"{intake.MAX_BATCH:,} bytes for a batch",
        f"{intake.MAX_MESSAGES:,} messages in a batch",
        f"{MAX_MESSAGE_ID - 1} characters for `messageId`",
        f"{webhook.MAX_BODY // 1024**2} MiB, {webhook.MAX_MESSAGES:,} messages",
        f"{webhook.MAX_MESSAGE:,} bytes each, from the webhook",
    ],
)
def test_a_limit_of_the_source_is_the_one_told_to_clients(limit: str) -> None:
    assert limit in cells(PAGE, "What is refused")


def test_deadlines_of_the_source_are_those_told_to_operators() -> None:
    told = cells(OPERATING, "Slow and greedy senders")
    assert f"between two requests | {listener.IDLE_SECONDS:.0f} s |" in told
    assert f"the body of a request | {door.BODY_SECONDS:.0f} s |" in told
    assert f"`Retry-After: {pressure.WAIT_SECONDS:.0f}`" in OPERATING.read_text()
