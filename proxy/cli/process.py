"""Settings of the interpreter, for processes that serve."""

from __future__ import annotations

import gc
import sys
from typing import Final

#: For which a thread may keep the interpreter from another that wants it. The spool's thread wants
#: it after every statement: with Python's 5 ms a commit beside a busy loop took up to 130 ms
#: (docs/decisions/0025-long-work-in-slices.md).
SWITCH_SECONDS: Final = 0.0001


def share_interpreter() -> None:
    """Before the start."""
    sys.setswitchinterval(SWITCH_SECONDS)


def freeze_memory() -> None:
    """Once all is up: what stands then stays, and looking through it takes the collector 20 ms."""
    gc.collect()
    gc.freeze()
