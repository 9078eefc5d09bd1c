"""A run from the command to the JSON, its helpers, and a proxy that is measured."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from contextlib import suppress
from pathlib import Path

import pytest
from click.testing import CliRunner

from bench.child import ChildFailed, child
from bench.proxyprocess import ProxyFailed
from bench.report import file_system
from bench.rows import ROWS
from bench.run import chosen
from bench.sizes import QUICK
from bench.stage import Stage, find_cores
from proxy.cli.main import main


def test_the_command_prints_a_table_and_writes_json(tmp_path: Path) -> None:
    file = tmp_path / "made" / "bench.json"
    given = ["bench", "--quick", "--only", "prepare", "--json", str(file)]
    ran = CliRunner().invoke(main, [*given, "--folder", str(tmp_path)])
    assert ran.exit_code == 0, ran.output
    assert "prepare, tracks" in ran.stdout
    assert "round 1 of 1: decode, map, encode" in ran.stderr
    report = json.loads(file.read_bytes())
    assert {figure["row"] for figure in report["figures"]} == {"prepare"}
    assert all(figure["median"] > 0 for figure in report["figures"])
    assert report["machine"]["folder"].startswith(str(tmp_path))
    assert sorted(each.name for each in tmp_path.iterdir()) == ["made"]


def test_a_distribution_without_the_benchmark_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "bench.report", None)
    ran = CliRunner().invoke(main, ["bench"])
    assert ran.exit_code == 1
    assert "the package `bench` is not installed here" in ran.stderr


def test_a_row_brings_along_what_it_is_compared_with() -> None:
    assert [row.name for row in chosen(["backlog"])] == [
        "ceilings", "ingest", "delivered", "backlog",
    ]  # fmt: skip
    assert chosen([]) == list(ROWS)


def test_every_comparison_is_with_a_figure_of_the_row_or_of_one_that_it_needs() -> None:
    for row in ROWS:
        there = {figure.name for each in chosen([row.name]) for figure in each.figures}
        assert {figure.against for figure in row.figures} - {None} <= there, row.name
    names = [figure.name for row in ROWS for figure in row.figures]
    assert len(names) == len(set(names))


def test_the_kind_of_a_file_system_is_that_of_the_nearest_mount() -> None:
    assert file_system(Path("/proc/self")) == "proc"


async def test_a_helper_tells_what_went_wrong_and_ends_with_the_run() -> None:
    async with child("bench.mapping", find_cores().every) as mapping:
        with pytest.raises(ChildFailed, match="KeyError"):
            await mapping.call("prepare", kind="no such", number=1)
        with pytest.raises(ChildFailed, match="nonsense"):
            await mapping.call("nonsense")
    with pytest.raises(ChildFailed, match="has ended"):
        await mapping.call("prepare", kind="tracks", number=1)


async def test_a_proxy_is_measured_and_leaves_nothing_behind(tmp_path: Path) -> None:
    cores = find_cores()
    async with child("bench.sink", cores.sink) as sink, child("bench.load", cores.load) as load:
        stage = Stage(tmp_path, cores, QUICK, sink, load, await sink.call("listen"))
        await stage.behave()
        async with stage.proxy() as proxy:
            done = await stage.deliver(proxy, 200)
            assert done.events == 200
            assert done.per_second > 0
            assert done.cpu_seconds > 0
            assert 20 < proxy.peak_megabytes() < 400
            family = proxy.family()
            await stage.behave(refuse=True)
            proxy.port = int(stage.sink_url.rpartition(":")[2])  # as one that refuses everything
            with pytest.raises(ProxyFailed, match="401"):
                await stage.deliver(proxy, 200)
    assert list(tmp_path.iterdir()) == []  # noqa: ASYNC240  nothing else goes on
    for process in family:
        with suppress(ProcessLookupError):
            os.kill(process, 0)
            pytest.fail(f"{process} still runs")


async def test_a_proxy_that_does_not_start_says_why(tmp_path: Path) -> None:
    cores = find_cores()
    async with child("bench.sink", cores.sink) as sink:
        stage = Stage(tmp_path, cores, QUICK, sink, sink, 9)
        with pytest.raises(ProxyFailed, match="nonsense"):
            async with asyncio.timeout(20), stage.proxy(server={"nonsense": 1}):
                pass
