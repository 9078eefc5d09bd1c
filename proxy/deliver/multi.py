"""libcurl's transfers on the running event loop: its "multi_socket" interface, with what the loop
wants to know of them.

https://curl.se/libcurl/c/libcurl-multi.html says how: libcurl names the sockets that it wants to
have watched and the time at which it wants to be called; nothing of it blocks.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Final

import pycurl

from proxy.deliver.watch import make_watch
from proxy.errors import TransportError

DONE: Final = 0  # libcurl's code for what has not failed
CLOSED: Final = -1  # ours for what was under way when all was closed

#: Told how a transfer ended: libcurl's code, and its words for it.
Ended = Callable[[int, str], None]


class Multi:
    """Performs easy handles. What libcurl calls (`_watch`, `_at`) may not call libcurl."""

    def __init__(self, max_connections: int) -> None:
        self._loop = asyncio.get_running_loop()
        self._waiting: dict[Any, Ended] = {}
        self._closed = False
        self._timer: asyncio.TimerHandle | None = None
        self._due = 0.0  # of the timer: uvloop's cannot always tell
        self._soon = False
        self._multi = pycurl.CurlMulti()
        self._sockets = make_watch(self._loop, self._ready)
        for option, value in (
            (pycurl.M_SOCKETFUNCTION, self._watch),
            (pycurl.M_TIMERFUNCTION, self._at),
            (pycurl.M_MAX_TOTAL_CONNECTIONS, max_connections),
            (pycurl.M_MAXCONNECTS, max_connections),
            (pycurl.M_PIPELINING, pycurl.PIPE_MULTIPLEX),
        ):
            self._multi.setopt(option, value)

    def begin(self, curl: Any, ended: Ended) -> None:
        """Performs a transfer; `ended` is told how it ended, in a later turn of the loop.

        Raises:
            TransportError: all is closed.

        """
        if self._closed:
            raise TransportError("connection_broken", "closed")
        self._multi.add_handle(curl)
        self._waiting[curl] = ended

    def give_up(self, curl: Any) -> None:
        """Ends a transfer that has not ended, and its connection; nobody is told."""
        if self._waiting.pop(curl, None):
            self._multi.remove_handle(curl)

    def close(self) -> None:
        """Ends what is under way, and closes all connections. May be called again."""
        if self._closed:
            return
        self._closed = True
        for curl in list(self._waiting):
            self._end(curl, CLOSED, "closed")
        self._multi.close()
        self._sockets.close()
        if self._timer:
            self._timer.cancel()

    # Called by libcurl

    def _watch(self, what: int, fd: int, _multi: object, _data: object) -> None:
        self._sockets.watch(fd, 0 if what == pycurl.POLL_REMOVE else what)

    def _at(self, milliseconds: int) -> None:
        """Asks to be called then; -1: not at all. A timer that is due earlier stays: a call that
        comes too early does no harm, and not every request has a timer made.
        """
        if milliseconds == 0:
            if not self._soon:
                self._soon = True
                self._loop.call_soon(self._call)
        elif milliseconds > 0:
            due = self._loop.time() + milliseconds / 1_000
            if self._timer is None or due < self._due:
                if self._timer:
                    self._timer.cancel()
                self._timer, self._due = self._loop.call_at(due, self._time), due

    # Called by the loop

    def _time(self) -> None:
        self._timer = None
        self._call()

    def _call(self) -> None:
        self._soon = False
        self._ready(((pycurl.SOCKET_TIMEOUT, 0),))

    def _ready(self, sockets: Any) -> None:
        """Lets libcurl go on with these sockets, each with what it is ready for."""
        if self._closed:
            return
        act = self._multi.socket_action
        try:
            for fd, what in sockets:
                act(fd, what)
            _, done, failed = self._multi.info_read()
        except pycurl.error as error:  # none that libcurl's manual calls possible here
            for curl in list(self._waiting):
                self._end(curl, CLOSED, str(error))
            return
        for curl in done:
            self._end(curl, DONE, "")
        for curl, code, text in failed:
            self._end(curl, code, text)

    def _end(self, curl: Any, code: int, text: str) -> None:
        ended = self._waiting.pop(curl, None)
        if ended is None:  # given up by what another has called
            return
        self._multi.remove_handle(curl)
        try:
            ended(code, text)
        except Exception as error:  # noqa: BLE001  it must not end the others
            what = {"message": "what a transfer has called failed", "exception": error}
            self._loop.call_exception_handler(what)
