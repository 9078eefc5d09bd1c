"""Several workers under one supervisor: how they start, die, and end."""

from __future__ import annotations

import asyncio
import os
import resource
import signal
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import aiohttp
import apsw
import pytest
import trustme
from structlog.testing import capture_logs

from proxy import supervisor
from proxy.configfile import load_config
from proxy.supervisor import Delays, Supervisor, worker_count
from tests.end_to_end.processes import (
    PATIENCE,
    Proxy,
    exit_code,
    running,
    until,
    write_config,
)
from tests.receive.test_listener import certify, trusting

NOWHERE = "http://127.0.0.1:9"
WORKERS = 2
MESSAGE = {
    "writeKey": "wk_acme",
    "event": "Tested",
    "anonymousId": "a-1",
    "properties": {"long": "x" * 2_000},
    "integrations": {"All": False},
}

#: Holds the turn to write and never comes back, once.
HANGS = """
import fcntl
import pathlib
import time

from proxy import hookimpl

folder = pathlib.Path(__file__).parent.parent


@hookimpl
def drop_reason(message):
    try:
        (folder / "hang").unlink()
    except FileNotFoundError:
        return
    turn = (folder / "data" / "spool.db.write").open()
    fcntl.flock(turn, fcntl.LOCK_EX)
    (folder / "turn-taken").touch()
    time.sleep(3_600)
"""


def configured(folder: Path, **tables: Any) -> Path:
    return write_config(folder, NOWHERE, server={"port": 0, "workers": WORKERS}, **tables)


@pytest.fixture
async def proxy(tmp_path: Path) -> AsyncIterator[Proxy]:
    async with running(configured(tmp_path)) as proxy:
        yield proxy


def lives(pid: int) -> bool:
    """A zombie, which nobody has asked about yet, does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


async def status(proxy: Proxy) -> int:
    """Of the health check, over a connection of its own."""
    async with (
        asyncio.timeout(PATIENCE),
        aiohttp.ClientSession() as session,
        session.get(f"{proxy.url}/health/ready") as answer,
    ):
        return answer.status


async def ended(proxy: Proxy, seconds: float = PATIENCE) -> int:
    """The exit code, which comes by itself."""
    assert proxy.process is not None
    async with asyncio.timeout(seconds):
        return await exit_code(proxy.process)


class TestCounting:
    @pytest.mark.parametrize(("setting", "count"), [(1, 1), (7, 7), (0, 3)])
    def test_0_is_one_for_each_core_that_may_be_used(
        self, monkeypatch: pytest.MonkeyPatch, setting: int, count: int
    ) -> None:
        monkeypatch.setattr("sys.platform", "linux")
        monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 2, 5}, raising=False)
        assert worker_count(setting) == count

    def test_elsewhere_it_is_one_for_each_core(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("sys.platform", "darwin")
        monkeypatch.setattr(os, "cpu_count", lambda: 5)
        assert worker_count(0) == 5


class TestDelays:
    def test_the_first_death_is_followed_by_a_start_at_once(self) -> None:
        assert Delays().after(0.1) == 0

    def test_deaths_soon_after_the_start_are_followed_by_longer_and_longer_delays(self) -> None:
        delays = Delays()
        found = [delays.after(0.1) for _ in range(50)]
        assert found[1] > 0
        assert found == sorted(found)
        assert found[-1] == supervisor.LONGEST_DELAY_SECONDS

    def test_a_long_life_is_a_new_beginning(self) -> None:
        delays = Delays()
        for _ in range(5):
            delays.after(0.1)
        assert delays.after(supervisor.SHORT_LIFE_SECONDS) == 0


class TestStart:
    async def test_it_listens_once_all_workers_do(self, proxy: Proxy) -> None:
        (line,) = proxy.logged("listening")
        assert (line["host"], line["workers"]) == ("127.0.0.1", WORKERS)
        assert sorted(proxy.workers()) == list(range(WORKERS))
        assert len(set(proxy.workers().values())) == WORKERS
        assert await status(proxy) == 200
        assert await proxy.end() == 0

    async def test_each_worker_accepts(self, proxy: Proxy) -> None:
        workers = proxy.workers()
        for index in workers:
            others = [pid for other, pid in workers.items() if other != index]
            for pid in others:
                os.kill(pid, signal.SIGSTOP)
            try:
                assert await status(proxy) == 200
            finally:
                for pid in others:
                    os.kill(pid, signal.SIGCONT)
        assert await proxy.end() == 0

    async def test_a_file_that_cannot_be_used_ends_it_with_the_reason(self, tmp_path: Path) -> None:
        (tmp_path / "diary.txt").write_text("Dear diary, " * 100)
        proxy = Proxy(configured(tmp_path, spool={"path": "diary.txt"}))
        assert await exit_code(proxy.spawn()) == 1
        said = proxy.log.read_text()
        assert "cannot be started" in said
        assert "diary.txt: file is not a database" in said
        assert "Traceback" not in said
        assert not proxy.logged("listening")

    async def test_an_address_in_use_ends_it_before_any_worker_is_started(
        self, proxy: Proxy, tmp_path: Path
    ) -> None:
        server = {"port": proxy.port, "workers": WORKERS}
        other = tmp_path / "other"
        other.mkdir()
        second = Proxy(write_config(other, NOWHERE, server=server))
        assert await exit_code(second.spawn()) == 1
        assert "address already in use" in second.log.read_text()
        assert not second.logged("worker_ready")

    async def test_a_plugin_that_cannot_be_loaded_is_named_once(self, tmp_path: Path) -> None:
        (tmp_path / "plugins.d").mkdir()
        (tmp_path / "plugins.d" / "broken.py").write_text("import nothing_of_this_name\n")
        proxy = Proxy(configured(tmp_path))
        assert await exit_code(proxy.spawn()) == 2
        assert proxy.log.read_text().count("nothing_of_this_name") == 1

    async def test_a_folder_named_proxy_where_it_is_started_does_not_mislead_it(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "proxy").mkdir()
        (tmp_path / "proxy" / "__init__.py").write_text("raise SystemExit('misled')")
        monkeypatch.chdir(tmp_path)
        async with running(configured(tmp_path)) as proxy:
            assert await proxy.end() == 0

    async def test_workers_get_settings_as_they_stand_in_the_file(self, tmp_path: Path) -> None:
        (tmp_path / "plugins.d").mkdir()
        (tmp_path / "plugins.d" / "dated.py").write_text(
            "import datetime\nfrom proxy import hookimpl\n\n\n"
            "@hookimpl\ndef configure(settings):\n"
            "    assert settings['since'] == datetime.date(2026, 1, 1)\n"
        )
        config = configured(tmp_path)
        with config.open("a") as file:
            file.write('plugins.settings."dated.py".since = 2026-01-01\n')
        async with running(config) as proxy:
            assert await proxy.end() == 0


class TestDeath:
    @pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV], ids=lambda each: each.name)
    async def test_a_worker_that_dies_is_replaced_while_the_others_serve(
        self, proxy: Proxy, number: signal.Signals
    ) -> None:
        before = proxy.workers()
        os.kill(before[0], number)
        assert await status(proxy) == 200
        await proxy.restarted(0, before[0])
        assert proxy.workers()[1] == before[1]
        (line,) = proxy.logged("worker_ended")
        assert (line["worker"], line["how"]) == (0, number.name)
        assert await proxy.end() == 0

    async def test_all_workers_may_die_at_once(self, proxy: Proxy) -> None:
        before = proxy.workers()
        for pid in before.values():
            os.kill(pid, signal.SIGKILL)
        assert await status(proxy) == 200  # it waits in the queue of the port
        for index, pid in before.items():
            await proxy.restarted(index, pid)
        assert await proxy.end() == 0

    async def test_one_that_cannot_be_started_anew_ends_the_proxy_with_the_reason(
        self, proxy: Proxy
    ) -> None:
        connection = apsw.Connection(str(proxy.config.parent / "data" / "spool.db"))
        connection.set_busy_timeout(5_000)
        connection.execute("PRAGMA user_version = 99")
        connection.close()
        os.kill(proxy.workers()[1], signal.SIGKILL)
        assert await ended(proxy) == 1
        said = proxy.log.read_text()
        assert "worker 1 cannot be started" in said
        assert "newer version of kochava-proxy (schema 99)" in said
        failed = [line for line in proxy.logged("worker_ended") if line["how"] == "exit 1"]
        assert len(failed) == supervisor.MAX_FAILED_STARTS

    async def test_a_disk_that_fails_one_worker_ends_them_all(self, proxy: Proxy) -> None:
        workers = proxy.workers()
        wal = proxy.config.parent / "data" / "spool.db-wal"
        room = max(100_000, wal.stat().st_size)
        resource.prlimit(workers[0], resource.RLIMIT_FSIZE, (room, room))
        async with aiohttp.ClientSession() as session, asyncio.timeout(PATIENCE):
            while not proxy.logged("storage_broken"):
                # Many at once, of which some come to either worker.
                await asyncio.gather(*(_post(session, proxy) for _ in range(20)))
        assert await ended(proxy) == 1
        (broken,) = proxy.logged("storage_broken")
        assert broken["worker"] == 0
        assert "the disk failed worker 0" in proxy.log.read_text()
        assert not any(map(lives, workers.values()))


@asynccontextmanager
async def watching(folder: Path, silent_seconds: float) -> AsyncIterator[Supervisor]:
    """A supervisor in this process, of workers that have their own."""
    config = load_config(configured(folder), {})
    made = Supervisor(config, folder, WORKERS, silent_seconds=silent_seconds)
    await made.start()
    try:
        yield made
    finally:
        made.request_stop()
        await made.serve()


class TestHanging:
    SILENT_SECONDS = 3.0

    async def test_a_worker_that_hangs_is_replaced_and_all_is_accepted_again(
        self, tmp_path: Path
    ) -> None:
        with capture_logs() as logs:
            async with watching(tmp_path, self.SILENT_SECONDS) as made:
                before = made._processes[0].pid
                os.kill(before, signal.SIGSTOP)
                await until(lambda: 0 not in made._ready)
                await until(lambda: 0 in made._ready)
                assert made._processes[0].pid != before
                for _ in range(20):  # of which some come to either
                    assert await posted(made) == 200
        said = {log["event"]: log for log in logs if log.get("worker") == 0}
        assert said["worker_silent"]["seconds"] == self.SILENT_SECONDS
        assert said["worker_ended"]["how"] == "SIGKILL"

    async def test_one_that_holds_up_all_others_does_so_no_longer_once_it_is_killed(
        self, tmp_path: Path
    ) -> None:
        """Its turn to write ends with it."""
        (tmp_path / "plugins.d").mkdir()
        (tmp_path / "plugins.d" / "hangs.py").write_text(HANGS)
        async with watching(tmp_path, self.SILENT_SECONDS) as made:
            workers = {process.pid for process in made._processes.values()}
            (tmp_path / "hang").touch()
            with suppress(aiohttp.ClientError):  # it may hang before it has answered
                await posted(made)
            await until(lambda: not (tmp_path / "hang").exists())
            assert await posted(made) == 200
            # One that is killed does not end well; the stop may not come before that is seen.
            await until(lambda: workers != {each.pid for each in made._processes.values()})
            await until(lambda: len(made._ready) == WORKERS)
        assert (tmp_path / "turn-taken").exists()


async def posted(to: Supervisor) -> int:
    """The status of a call, over a connection of its own."""
    url = f"http://127.0.0.1:{to.port}/v1/track"
    async with (
        asyncio.timeout(PATIENCE),
        aiohttp.ClientSession() as session,
        session.post(url, json=MESSAGE) as answer,
    ):
        return answer.status


async def _post(session: aiohttp.ClientSession, proxy: Proxy) -> None:
    try:
        async with session.post(f"{proxy.url}/v1/track", json=MESSAGE):
            pass
    except aiohttp.ClientError:
        pass


class TestEnd:
    @pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=lambda each: each.name)
    async def test_it_ends_when_told_to_and_soon(
        self, proxy: Proxy, number: signal.Signals
    ) -> None:
        began = time.monotonic()
        assert await proxy.end(number) == 0
        assert time.monotonic() - began < 5
        assert not proxy.logged("worker_ended")
        assert not any(map(lives, proxy.workers().values()))

    async def test_a_signal_to_the_workers_too_and_a_second_one_do_no_harm(
        self, proxy: Proxy
    ) -> None:
        """As of a terminal or of systemd, which tell every process."""
        assert proxy.process is not None
        for pid in (proxy.process.pid, *proxy.workers().values(), proxy.process.pid):
            os.kill(pid, signal.SIGTERM)
        assert await ended(proxy) == 0
        assert "Traceback" not in proxy.log.read_text()

    async def test_told_to_end_while_it_starts_it_ends(self, tmp_path: Path) -> None:
        proxy = Proxy(configured(tmp_path))
        process = proxy.spawn()
        await until(lambda: bool(_children(process.pid)))
        assert await proxy.end() == 0
        assert "Traceback" not in proxy.log.read_text()

    async def test_workers_end_with_a_supervisor_that_is_killed(self, proxy: Proxy) -> None:
        before = proxy.workers()
        assert await proxy.end(signal.SIGKILL) == -signal.SIGKILL
        await until(lambda: not any(map(lives, before.values())), 3)
        await proxy.start()
        assert await status(proxy) == 200
        assert await proxy.end() == 0

    async def test_a_new_one_waits_for_the_workers_of_a_killed_supervisor(
        self, proxy: Proxy
    ) -> None:
        workers = proxy.workers()
        for pid in workers.values():
            os.kill(pid, signal.SIGSTOP)
        try:
            assert await proxy.end(signal.SIGKILL) == -signal.SIGKILL
            proxy.spawn()
            await until(lambda: bool(proxy.logged("waiting_for_file")))
            assert not proxy.logged("worker_ready")
        finally:
            for pid in workers.values():
                os.kill(pid, signal.SIGCONT)
        await until(lambda: bool(proxy.logged("listening")))
        assert await proxy.end() == 0


def _children(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/task/{pid}/children").read_text().split()


async def test_sighup_reaches_every_worker(tmp_path: Path) -> None:
    authority = trustme.CA()
    certify(authority, tmp_path)
    server = {
        "port": 0,
        "workers": WORKERS,
        "tls_certificate": "proxy.pem",
        "tls_key": "proxy.key",
    }
    async with running(write_config(tmp_path, NOWHERE, server=server)) as proxy:
        second = certify(authority, tmp_path)
        assert proxy.process is not None
        proxy.process.send_signal(signal.SIGHUP)
        await until(lambda: len(proxy.logged("certificate_loaded")) == WORKERS)
        assert {line["worker"] for line in proxy.logged("certificate_loaded")} == {0, 1}
        for _ in range(10):
            _, writer = await asyncio.open_connection(
                "127.0.0.1", proxy.port, ssl=trusting(authority), server_hostname="localhost"
            )
            assert writer.get_extra_info("ssl_object").getpeercert(binary_form=True) == second
            writer.close()
        assert await proxy.end() == 0
