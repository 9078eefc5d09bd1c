"""The few exceptions, by what whoever catches them must do next.

ProxyError
├── ConfigError      do not start; show every problem
│   └── PluginError  do not start; a plugin file is at fault
├── Filtered         a mapping says: this message is not to be sent, and why
├── Refused          a message that came in is not acceptable: count it, go on with the next
├── RequestRefused   a whole HTTP request is not acceptable: answer its status
├── WorkerFailed     end the process: one of its workers cannot go on
├── StorageError
│   ├── StorageFull    accept nothing now (503), try again later
│   └── StorageBroken  the disk cannot be trusted: end the process
└── TransportError   no usable answer came back: retry
"""

from __future__ import annotations

import msgspec


class Problem(msgspec.Struct, frozen=True):
    """One thing that is wrong with the configuration or a plugin, and how to mend it."""

    file: str
    key: str
    what: str
    mend: str = ""

    def __str__(self) -> str:
        place = ": ".join(part for part in (self.file, self.key) if part)
        text = f"{place}: {self.what}" if place else self.what
        return f"{text}\n    mend: {self.mend}" if self.mend else text


class ProxyError(Exception):
    """Root of all exceptions of this package."""


class ConfigError(ProxyError):
    """The configuration cannot be used. A plugin's `configure` raises it with a plain sentence."""

    def __init__(self, *problems: Problem | str) -> None:
        super().__init__(*problems)
        self.problems = tuple(
            problem if isinstance(problem, Problem) else Problem("", "", problem)
            for problem in problems
        )

    def __str__(self) -> str:
        return "\n".join(str(problem) for problem in self.problems)


class PluginError(ConfigError):
    """A plugin cannot be loaded; the problem's key names the hook and line."""


class Filtered(ProxyError):
    """Raised by a mapping hook: this message is deliberately not sent.

    `reason` is a short snake_case word; the ledger counts by it.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Refused(ProxyError):
    """One message of a request is not acceptable; `reason` uses Segment's own words."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class RequestRefused(ProxyError):
    """A whole request is not acceptable: the status, a code for machines, words for people.
    `retry_after` is in seconds, for 429 and 503.
    """

    def __init__(self, status: int, code: str, message: str, retry_after: float = 5.0) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.retry_after = retry_after


class WorkerFailed(ProxyError):
    """A worker process cannot be started, or did not end well."""


class StorageError(ProxyError):
    """The database did not do what was asked."""


class StorageFull(StorageError):
    """No room on the disk; nothing was stored."""


class StorageBroken(StorageError):
    """An I/O or fsync error: what is on disk can no longer be known."""


class TransportError(ProxyError):
    """A request went out and no usable answer came back. `reason` is one snake_case word."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(detail or reason)
        self.reason = reason
        self.detail = detail
