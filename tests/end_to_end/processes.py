"""Real processes of the proxy, and a Kochava that writes down what it got."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
from aiohttp import web

COMMAND = Path(sys.executable).with_name("kochava-proxy")
PATIENCE = 20.0  # seconds; far more than anything here takes

TRACK_PATH = "/track/json"
LINK_PATH = "/v1/cpi/identityLink.php"


class Received(msgspec.Struct):
    """A request that came, and whether it was answered with success."""

    path: str
    headers: dict[str, str]
    body: dict[str, Any]
    success: bool

    @property
    def id(self) -> str:
        """The message id, which load tests put among the properties."""
        return str(self.body["data"]["event_data"]["id"])


class Sink:
    """Kochava. `answer` says status and body for a decoded request, success by default."""

    def __init__(self) -> None:
        self.requests: list[Received] = []
        self.answer: Callable[[dict[str, Any]], tuple[int, bytes]] = lambda _: (200, SUCCESS)
        self.latency = 0.0
        self.begun = 0  # answered or not
        self.url = ""

    async def handle(self, request: web.Request) -> web.Response:
        body = msgspec.json.decode(await request.read())
        self.begun += 1
        if self.latency:
            await asyncio.sleep(self.latency)
        status, answer = self.answer(body)
        success = status == 200 and answer == SUCCESS
        self.requests.append(Received(request.path, dict(request.headers), body, success))
        return web.Response(status=status, body=answer)

    def successes(self) -> Counter[str]:
        """How often each message id was delivered."""
        return Counter(request.id for request in self.requests if request.success)


SUCCESS = b'{"success":"1"}'


@asynccontextmanager
async def listening(app: web.Application) -> AsyncIterator[str]:
    """Serves `app` on a port of its own; the URL, without a path."""
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


@asynccontextmanager
async def serving(sink: Sink) -> AsyncIterator[Sink]:
    app = web.Application()
    app.router.add_post(TRACK_PATH, sink.handle)
    app.router.add_post(LINK_PATH, sink.handle)
    async with listening(app) as sink.url:
        yield sink


def write_config(folder: Path, kochava: str, port: int = 0, **tables: Any) -> Path:
    """A config.toml for a proxy that sends to `kochava`; `tables` go over what stands here."""
    config: dict[str, Any] = {
        "server": {"port": port},
        "kochava": {
            "track_url": kochava + TRACK_PATH,
            "identity_link_url": kochava + LINK_PATH,
        },
        "spool": {"reserve_megabytes": 1},  # tests leave many spools behind
        "delivery": {"retry_base_seconds": 0.05, "retry_max_seconds": 0.2, "max_concurrency": 20},
        **tables,
    }
    config.setdefault(
        "sources", [{"name": "acme", "write_key": "wk_acme", "kochava_app_id": "koacme"}]
    )
    path = folder / "config.toml"
    path.write_text("".join(f"{key} = {_toml(value)}\n" for key, value in config.items()))
    return path


def _toml(value: Any) -> str:
    """Inline tables, and JSON's scalars, which are TOML's."""
    if isinstance(value, dict):
        pairs = (f"{json.dumps(key)} = {_toml(inner)}" for key, inner in value.items())
        return "{ " + ", ".join(pairs) + " }"
    if isinstance(value, list):
        return "[" + ", ".join(map(_toml, value)) + "]"
    return json.dumps(value)


class Proxy:
    """`kochava-proxy run` as a process of its own."""

    def __init__(
        self, config: Path, *options: str | Path, environment: dict[str, str] | None = None
    ) -> None:
        """`environment` is added to this process's own, at every start."""
        self.config = config
        self.environment = environment or {}
        self._options = options
        self.process: subprocess.Popen[bytes] | None = None
        self.port = 0
        self._starts = 0

    @property
    def log(self) -> Path:
        return self.config.with_name(f"log-{self._starts}.txt")

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def spawn(self) -> subprocess.Popen[bytes]:
        self._starts += 1
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [COMMAND, "run", "-c", self.config, *self._options],
                stdout=log,
                stderr=log,
                env=os.environ | {"COLUMNS": "200"} | self.environment,
            )
        return self.process

    async def start(self) -> None:
        """Returns when it listens."""
        process = self.spawn()
        await until(lambda: self.listens() or process.poll() is not None)
        assert process.poll() is None, self.log.read_text()

    def listens(self) -> bool:
        """Whether it said so, and at which port, which is known from then on."""
        for line in self.log.read_bytes().splitlines():
            if b'"listening"' in line and line.endswith(b"}"):
                self.port = json.loads(line)["port"]
                return True
        return False

    def logged(self, event: str) -> list[dict[str, Any]]:
        """The lines of the log so far that tell of an event."""
        lines = self.log.read_bytes().splitlines()
        found = [json.loads(line) for line in lines if line[:1] == b"{" and line[-1:] == b"}"]
        return [line for line in found if line["event"] == event]

    def workers(self) -> dict[int, int]:
        """The process ids of several workers, by index, of each the last that was ready."""
        return {line["worker"]: line["pid"] for line in self.logged("worker_ready")}

    async def restarted(self, index: int, before: int) -> None:
        """Returns when another process has taken the place of a worker."""
        await until(lambda: self.workers()[index] != before)

    async def end(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Sends the signal; the exit code."""
        assert self.process is not None
        self.process.send_signal(number)
        return await exit_code(self.process)

    async def stats(self) -> dict[str, Any]:
        """The ledger of the one source."""
        code, output = await command("stats", "-c", self.config, "--json")
        result = json.loads(output)
        assert (code, result["balanced"]) == (0, True)
        counts: dict[str, Any] = result["sources"]["acme"]
        return counts

    async def settles(self) -> dict[str, Any]:
        """The ledger once nothing is pending."""
        async with asyncio.timeout(PATIENCE):
            while (counts := await self.stats())["pending"]:
                pass
        return counts


@asynccontextmanager
async def running(
    config: Path, *options: str | Path, environment: dict[str, str] | None = None
) -> AsyncIterator[Proxy]:
    proxy = Proxy(config, *options, environment=environment)
    try:
        await proxy.start()
        yield proxy
    finally:
        if proxy.process is not None and proxy.process.poll() is None:
            proxy.process.kill()
            proxy.process.wait()


async def command(*arguments: str | Path) -> tuple[int, bytes]:
    """Exit code and output of another command."""
    done = await asyncio.to_thread(
        subprocess.run, [COMMAND, *arguments], capture_output=True, timeout=PATIENCE, check=False
    )
    assert b"Traceback" not in done.stderr, done.stderr.decode()
    return done.returncode, done.stdout


async def exit_code(process: subprocess.Popen[bytes]) -> int:
    await until(lambda: process.poll() is not None)
    return int(process.returncode)


async def until(condition: Callable[[], bool], seconds: float = PATIENCE) -> None:
    """Polls: a process tells nobody what it has done."""
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110  there is no event to wait for
            await asyncio.sleep(0.01)


async def until_async(condition: Callable[[], Awaitable[bool]], seconds: float = PATIENCE) -> None:
    """As `until`, for what can only be asked."""
    async with asyncio.timeout(seconds):
        while not await condition():  # noqa: ASYNC110  there is no event to wait for
            await asyncio.sleep(0.01)
