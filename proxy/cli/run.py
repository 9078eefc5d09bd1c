"""`kochava-proxy run`: serve."""

from __future__ import annotations

import asyncio
import secrets
import signal
from pathlib import Path

import click
import msgspec
import uvloop

from proxy.app import App
from proxy.cli.common import BAD_ANSWER, config_option, load_or_exit, show_and_exit
from proxy.cli.examples import Narrator, load_examples, send_examples
from proxy.cli.process import freeze_memory, share_interpreter
from proxy.config import Config
from proxy.errors import ConfigError, StorageError, WorkerFailed
from proxy.mapping.plugins import load_plugins
from proxy.sandbox.server import LINK_PATH, TRACK_PATH, Sandbox
from proxy.supervisor import Supervisor, worker_count

Messages = list[tuple[str, bytes]]


@click.command()
@config_option
@click.option("--sandbox", "with_sandbox", is_flag=True, help="Start a stand-in for Kochava and "
              "Segment too, and send everything to it.")  # fmt: skip
@click.option("--examples", type=click.Path(path_type=Path, exists=True, file_okay=False),
              help="Once up, send the messages in this folder and show what becomes of "
              "each.")  # fmt: skip
def run(config_path: Path, with_sandbox: bool, examples: Path | None) -> None:
    """Serve until SIGTERM or Ctrl-C."""
    if examples and not with_sandbox:
        raise click.UsageError("--examples needs --sandbox: samples have no business at Kochava")
    config = load_or_exit(config_path)
    if examples and worker_count(config.server.workers) > 1:
        raise click.UsageError("--examples needs server.workers = 1, to see what becomes of each")
    messages = load_examples(examples) if examples else []
    share_interpreter()
    try:
        uvloop.run(_run(config, config_path.parent, with_sandbox, messages))
    except ConfigError as error:
        show_and_exit(error, config_path)
    except (StorageError, WorkerFailed, OSError) as error:
        click.echo(f"kochava-proxy: {error}", err=True)
        raise SystemExit(BAD_ANSWER) from None


async def _run(config: Config, base: Path, with_sandbox: bool, examples: Messages) -> None:
    sandbox = None
    if with_sandbox:
        sandbox = Sandbox(credentials=_credentials(config))
        await sandbox.start()
        config = _coming_home(_pointed_at(config, sandbox))
        click.echo(f"sandbox: nothing leaves this machine; all requests go to {sandbox.url}")
    narrator = Narrator()
    plugins = load_plugins(config, base, *([narrator.plugin()] if examples else []))
    count = worker_count(config.server.workers)
    app: App | Supervisor
    if count > 1:  # each loads the plugins for itself; here they were only checked
        app = Supervisor(config, base, count, sandbox=with_sandbox)
    else:
        app = App(config, base, plugins, sandbox=with_sandbox)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, app.request_stop)
    loop.add_signal_handler(signal.SIGHUP, app.reload)
    try:
        await app.start()
        freeze_memory()
        scheme = "https" if config.server.tls_certificate else "http"
        url = f"{scheme}://{_reachable(config.server.host)}:{app.port}"
        if sandbox is not None:
            homes = _homes(config, url)
            sandbox.fire_at(lambda app_id: homes.get(app_id, ()))
        if examples:  # beside serving, so that a signal ends the process at once
            key = config.sources[0].write_keys[0]
            sending = asyncio.create_task(send_examples(examples, url, key, narrator))
            sending.add_done_callback(_examples_ended)
        await app.serve()
    finally:
        if sandbox is not None:
            await sandbox.stop()


def _reachable(host: str) -> str:
    """The address to call for one that is listened on."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104  not to bind to
    return f"[{host}]" if ":" in host else host


def _examples_ended(sending: asyncio.Task[None]) -> None:
    if not sending.cancelled() and sending.exception() is not None:
        click.echo(f"the examples were not all sent: {sending.exception()}", err=True)


def _credentials(config: Config) -> dict[str, tuple[str, str]]:
    """Which apps must sign, so that the sandbox can check that they do."""
    found = {}
    for source in config.sources:
        if source.kochava_api_key:
            for app_id in source.app_ids:
                found[app_id] = (source.kochava_api_key, source.kochava_secret)
    return found


def _homes(config: Config, url: str) -> dict[str, list[str]]:
    """Where postbacks of each app id go: home to every source that has it, as Kochava, which knows
    apps and no sources, would call every URL that was set up for the app.
    """
    homes: dict[str, list[str]] = {}
    for source in config.sources:
        for app_id in dict.fromkeys(source.app_ids):
            home = f"{url}/postbacks/kochava/{source.postback_token}"
            homes.setdefault(app_id, []).append(home)
    return homes


def _coming_home(config: Config) -> Config:
    """The sandbox sends postbacks for every source: what such a source must have is made up."""
    replace = msgspec.structs.replace
    return replace(
        config,
        sources=tuple(
            replace(
                source,
                postback_token=source.postback_token or secrets.token_hex(16),
                segment_write_key=source.segment_write_key or secrets.token_hex(16),
            )
            for source in config.sources
        ),
    )


def _pointed_at(config: Config, sandbox: Sandbox) -> Config:
    replace = msgspec.structs.replace
    kochava = replace(
        config.kochava,
        track_url=sandbox.url + TRACK_PATH,
        identity_link_url=sandbox.url + LINK_PATH,
    )
    return replace(
        config,
        kochava=kochava,
        segment=replace(config.segment, api_url=sandbox.url + "/v1"),
        delivery=replace(config.delivery, proxy=""),  # which is another machine, or leads to one
    )
