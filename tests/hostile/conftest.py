"""The door, as the tests of proxy/receive open it."""

from tests.receive.conftest import door, open_door

__all__ = ["door", "open_door"]
