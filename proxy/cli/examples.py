"""`run --examples`: sends sample messages through the proxy's own port and tells what happens.

The telling is a plugin like any other: it observes deliveries through the public hooks.
"""

from __future__ import annotations

import asyncio
from base64 import b64encode
from pathlib import Path

import aiohttp
import click
import msgspec

from proxy.kochava import KochavaRequest, Request
from proxy.mapping.hookspecs import hookimpl
from proxy.mapping.plugins import Plugin
from proxy.segment import Identify, Message, Page, Postback, Screen, Track
from proxy.states import Outcome, Settlement

PATIENCE_SECONDS = 30.0
POSTBACK_SECONDS = 10.0  # for that of an install, which the sandbox sends after a second


class Narrator:
    """Prints each delivery as message -> request -> answer, and hears when a message is done."""

    def __init__(self) -> None:
        self.settled: asyncio.Queue[str] = asyncio.Queue()
        self.installed = False
        self.postback = asyncio.Event()  # one of Kochava's came home

    def plugin(self) -> Plugin:
        return Plugin("narrator", "run --examples", __file__, self)

    @hookimpl
    def delivery_attempted(
        self, message: Message | Postback, request: Request, outcome: Outcome
    ) -> None:
        wire = msgspec.json.format(msgspec.json.encode(request), indent=2).decode()
        click.echo(f"\n{_describe(message)}")
        click.echo("  -> " + wire.replace("\n", "\n     "))
        click.echo(f"  <- {outcome.status} {outcome.body or outcome.reason} [{outcome.kind}]")
        if isinstance(request, KochavaRequest) and request.action == "install":
            self.installed |= outcome.kind == "delivered"

    @hookimpl
    def event_settled(self, message: Message | Postback, settlement: Settlement) -> None:
        if settlement.state != "delivered":
            detail = f": {settlement.reason}" if settlement.reason else ""
            click.echo(f"\n{_describe(message)}\n  -> nothing is sent [{settlement.state}{detail}]")
        if isinstance(message, Postback):
            self.postback.set()
        else:
            self.settled.put_nowait(message.message_id)


def _describe(message: Message | Postback) -> str:
    match message:
        case Track(event=name) | Screen(name=name) | Page(name=name) if name:
            return f'{message.type} "{name}"'
        case Identify(user_id=user) if user:
            return f"identify {user}"
        case Postback(fields=fields):
            return f"postback of Kochava's: {fields.get('network', 'organic')}"
        case _:
            return message.type


def load_examples(folder: Path) -> list[tuple[str, bytes]]:
    """Names and contents of the *.json of a folder, sorted by name."""
    return [(file.name, file.read_bytes()) for file in sorted(folder.glob("*.json"))]


async def send_examples(
    examples: list[tuple[str, bytes]], url: str, write_key: str, narrator: Narrator
) -> None:
    """Posts each to URL/v1/<its type>, each settled before the next is sent."""
    base = f"{url}/v1"
    authorization = "Basic " + b64encode(f"{write_key}:".encode()).decode()
    async with aiohttp.ClientSession(headers={"Authorization": authorization}) as session:
        for name, message in examples:
            type_ = msgspec.json.decode(message, type=dict[str, object]).get("type")
            # The certificate, if there is one, is made out to a public name.
            async with session.post(f"{base}/{type_}", data=message, ssl=False) as answer:
                if answer.status != 200:
                    click.echo(f"{name}: {answer.status} {await answer.text()}", err=True)
                    continue
            try:
                async with asyncio.timeout(PATIENCE_SECONDS):
                    await narrator.settled.get()
            except TimeoutError:
                click.echo(f"{name}: not settled within {PATIENCE_SECONDS:.0f} s", err=True)
    if narrator.installed:
        try:
            async with asyncio.timeout(POSTBACK_SECONDS):
                await narrator.postback.wait()
        except TimeoutError:
            click.echo("\nno postback of Kochava's: within a day of an earlier run it is a repeat")
    click.echo(
        f"\n{len(examples)} messages are through. Send your own to {base}/track; Ctrl-C ends."
    )
