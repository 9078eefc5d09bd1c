"""Logs: one line an event, for people on a terminal, as JSON elsewhere.

Nothing that identifies a person or a device, and no key, is ever handed to a logger; the
processor here is the second line of defence, for keys that are known to hold such things.
"""

from __future__ import annotations

import sys
from collections.abc import MutableMapping
from contextlib import suppress
from typing import Any, Final, TextIO, cast

import structlog

#: Compared in lower case and without "_" and "-", so that "writeKey" is "write_key" too.
_SECRET_KEYS: Final = frozenset(
    name.replace("_", "")
    for name in (
        "write_key", "kochava_api_key", "kochava_auth_token", "kochava_secret", "webhook_token",
        "webhook_secret", "postback_token", "segment_write_key", "token", "authorization",
        "body", "headers", "data", "raw", "user_id", "anonymous_id", "previous_id", "app_userid",
        "kochava_device_id", "device_id", "device_ids", "advertising_id", "idfa", "idfv", "adid",
        "android_id", "ip", "origination_ip",
    )
)  # fmt: skip


class _StandardError:
    """May be a file on the disk that is full. Then lines are lost, and nothing else: whoever says
    something goes on.
    """

    def write(self, text: str) -> None:
        with suppress(OSError):
            sys.stderr.write(text)

    def flush(self) -> None:
        with suppress(OSError):
            sys.stderr.flush()


def configure_logs(**always: object) -> None:
    """Sends logs to standard error, `always` with each line."""
    on_terminal = sys.stderr.isatty()
    render: Any = (
        # Not rich's traceback: that one prints the values of variables.
        structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)
        if on_terminal
        else structlog.processors.JSONRenderer()
    )
    structlog.configure(
        processors=[
            lambda _, __, event: {**always, **event},
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            redact,
            *([] if on_terminal else [structlog.processors.format_exc_info]),
            render,
        ],
        # Line and line end in one call: those of several processes do not run into each other.
        logger_factory=structlog.WriteLoggerFactory(cast("TextIO", _StandardError())),
        cache_logger_on_first_use=True,
    )


def redact(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """A processor that blanks what must not be logged."""
    for key, value in event.items():
        if key.lower().replace("_", "").replace("-", "") in _SECRET_KEYS:
            event[key] = "(redacted)"
        elif isinstance(value, dict):
            event[key] = redact(_, __, {str(inner): each for inner, each in value.items()})
    return event
