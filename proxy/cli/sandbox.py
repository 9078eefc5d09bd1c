"""`kochava-proxy sandbox`: a stand-in for Kochava and Segment."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path

import click

from proxy.sandbox.server import LINK_PATH, TRACK_PATH, Faults, Sandbox


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
@click.option("--postback-url", help="Send a postback to this URL for each install, without a "
              "query: http://HOST/postbacks/kochava/TOKEN.")  # fmt: skip
def sandbox(
    host: str,
    port: int,
    record: Path | None,
    latency_ms: float,
    fail_rate: float,
    fail_status: int,
    postback_url: str | None,
) -> None:
    """Serve a strict stand-in for Kochava until Ctrl-C."""
    faults = Faults(latency_ms / 1_000, fail_rate, fail_status)
    try:
        asyncio.run(_serve(Sandbox(host, port, record, faults), postback_url))
    except OSError as error:
        raise click.UsageError(str(error)) from None


async def _serve(server: Sandbox, postback_url: str | None) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    await server.start()
    if postback_url:
        server.fire_at(lambda _: postback_url)
    click.echo(f"track_url         = {server.url}{TRACK_PATH}")
    click.echo(f"identity_link_url = {server.url}{LINK_PATH}")
    await stop.wait()
    await server.stop()
