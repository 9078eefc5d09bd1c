"""No key, secret or device is ever written to a log."""

from __future__ import annotations

import errno
import io
import json
import sys
from collections.abc import Iterator
from typing import Any

import pytest
import structlog

from proxy.config import SourceConfig
from proxy.observe import logs
from proxy.observe.logs import redact

SECRET = "hush-hush"
#: Every key of a source, every id of a person or a device, in our spelling and on the wire.
UNWANTED = [
    "write_key", "writeKey", "kochava_api_key", "kochava_secret", "webhook_token",
    "webhook_secret", "postback_token", "segment_write_key", "token", "Authorization",
    "Kochava-Api-Key", "Kochava-Auth-Token", "kochava_device_id", "device_id", "device_ids",
    "idfa", "idfv", "adid", "android_id", "advertisingId", "advertising_id", "user_id", "userId",
    "anonymous_id", "anonymousId", "app_userid", "ip", "origination_ip", "body", "headers",
]  # fmt: skip


@pytest.fixture(autouse=True)
def _structlog_as_before() -> Iterator[None]:
    before = structlog.get_config()
    yield
    structlog.configure(**before)


class Stream(io.StringIO):
    """A standard error that is a terminal, or is none."""

    def __init__(self, *, terminal: bool) -> None:
        super().__init__()
        self._terminal = terminal

    def isatty(self) -> bool:
        return self._terminal


def log(monkeypatch: pytest.MonkeyPatch, stream: Stream) -> Any:
    """A logger as the product has it."""
    monkeypatch.setattr(sys, "stderr", stream)
    logs.configure_logs()
    return structlog.get_logger(room="test")


@pytest.mark.parametrize("key", UNWANTED)
def test_it_is_blanked_at_any_depth(key: str) -> None:
    event = {"event": "e", key: SECRET, "deep": {key: SECRET, "deeper": {key: [SECRET]}}}
    assert SECRET not in str(redact(None, "", event))


def test_no_key_of_a_source_is_forgotten() -> None:
    secret = {name for name in SourceConfig.__struct_fields__ if name.endswith(
        ("key", "secret", "token"))}  # fmt: skip
    assert secret <= set(UNWANTED)


def test_what_helps_is_kept() -> None:
    event = {"event": "delivery_retried", "source": "acme", "reason": "status_503", "times": 3}
    assert redact(None, "", dict(event)) == event


@pytest.mark.parametrize("terminal", [True, False], ids=["terminal", "elsewhere"])
def test_lines_are_redacted_wherever_they_go(
    monkeypatch: pytest.MonkeyPatch, terminal: bool
) -> None:
    written = Stream(terminal=terminal)
    log(monkeypatch, written).warning("said", write_key=SECRET, source="acme")
    text = written.getvalue()
    assert SECRET not in text
    assert "(redacted)" in text
    assert "acme" in text


@pytest.mark.parametrize("terminal", [True, False], ids=["terminal", "elsewhere"])
def test_a_traceback_shows_no_values(monkeypatch: pytest.MonkeyPatch, terminal: bool) -> None:
    written = Stream(terminal=terminal)
    logger = log(monkeypatch, written)
    write_key = SECRET
    try:
        _ = {"a": 1}[write_key[:0]]
    except KeyError:
        logger.exception("failed")
    text = written.getvalue()
    assert "KeyError" in text
    assert SECRET not in text


def test_elsewhere_each_line_is_one_json_object(monkeypatch: pytest.MonkeyPatch) -> None:
    written = Stream(terminal=False)
    logger = log(monkeypatch, written)
    logger.info("one", number=1)
    try:
        raise ValueError
    except ValueError:
        logger.exception("two")
    lines = [json.loads(line) for line in written.getvalue().splitlines()]
    assert [(line["event"], line["level"], line["room"]) for line in lines] == [
        ("one", "info", "test"), ("two", "error", "test"),
    ]  # fmt: skip
    assert lines[0]["timestamp"].endswith("Z")


class FullDisk(io.StringIO):
    """A standard error that is a file on one."""

    def __init__(self) -> None:
        super().__init__()
        self.refused = 0

    def write(self, _: str) -> int:
        self.refused += 1
        raise OSError(errno.ENOSPC, "No space left on device")

    def flush(self) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")


def test_a_full_disk_costs_lines_and_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    disk = FullDisk()
    monkeypatch.setattr(sys, "stderr", disk)
    logs.configure_logs()
    structlog.get_logger().warning("not_kept")
    structlog.get_logger().warning("nor_this")
    assert disk.refused == 2
