"""`kochava-proxy sandbox`: a stand-in for Kochava and Segment."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable
from pathlib import Path
from typing import get_args
from urllib.parse import urlsplit

import click

from proxy.sandbox.firing import DELAY_SECONDS
from proxy.sandbox.server import LINK_PATH, TRACK_PATH, Faults, Sandbox
from proxy.sandbox.template import Method


def _url(_: click.Context, __: click.Parameter, value: str | None) -> str | None:
    """Refuses what cannot be called."""
    if value is None:
        return None
    try:
        parts = urlsplit(value)
        if parts.scheme in ("http", "https") and parts.hostname and parts.port != 0:
            return value
    except ValueError:  # brackets without an address, a port that is no number
        pass
    raise click.BadParameter(f"{value!r} is not a URL: begin it with https:// (or http://)")


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True)
@click.option("--port", type=click.IntRange(0, 65_535), default=8090, show_default=True)
@click.option(
    "--record",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Append every request and its answer to this file, one JSON object a line.",
)
@click.option("--latency-ms", type=click.FloatRange(0), default=0.0, help="Wait before answering.")
@click.option("--fail-rate", type=click.FloatRange(0, 1), default=0.0, help="Share that fails.")
@click.option("--fail-status", type=click.IntRange(400, 599), default=503, show_default=True)
@click.option(
    "--postback-url",
    metavar="URL",
    callback=_url,
    help="Send a postback to this URL for each install, with its {macros} filled in; without any, "
    "with all parameters.",
)
@click.option(
    "--postback-method",
    type=click.Choice(get_args(Method)),
    default="get",
    show_default=True,
    help="With the parameters in the URL, or in the body as a form or as JSON.",
)
@click.option(
    "--postback-delay-ms",
    type=click.FloatRange(0),
    default=DELAY_SECONDS * 1_000,
    show_default=True,
    help="Wait before the first try.",
)
def sandbox(
    host: str,
    port: int,
    record: Path | None,
    latency_ms: float,
    fail_rate: float,
    fail_status: int,
    postback_url: str | None,
    postback_method: Method,
    postback_delay_ms: float,
) -> None:
    """Serve a strict stand-in for Kochava until Ctrl-C."""
    faults = Faults(latency_ms / 1_000, fail_rate, fail_status)
    urls = (postback_url,) if postback_url else ()

    def fire(server: Sandbox) -> None:
        server.fire_at(lambda _: urls, postback_method, postback_delay_ms / 1_000)

    try:
        asyncio.run(_serve(Sandbox(host, port, record, faults), fire))
    except OSError as error:
        raise click.UsageError(str(error)) from None


async def _serve(server: Sandbox, fire: Callable[[Sandbox], None]) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    await server.start()
    fire(server)
    click.echo(f"track_url         = {server.url}{TRACK_PATH}")
    click.echo(f"identity_link_url = {server.url}{LINK_PATH}")
    click.echo(f"api_url           = {server.url}/v1")
    await stop.wait()
    await server.stop()
