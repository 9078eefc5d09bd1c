"""A server that uses one of Segment's Python clients; run by the interpreter that has it.

Takes its one argument and says at the end what went wrong, as the scripts in node/ do.
"""

from __future__ import annotations

import importlib
import json
import logging
import re
import sys
from typing import Any

job: dict[str, Any] = json.loads(sys.argv[1])
errors: list[str] = []


class Complaints(logging.Handler):
    """What a client logs when it gives up."""

    def emit(self, record: logging.LogRecord) -> None:
        errors.append(record.getMessage())


def snake(name: str) -> str:
    """The name of a parameter."""
    return re.sub("[A-Z]", lambda letter: "_" + letter[0].lower(), name)


logging.getLogger().addHandler(Complaints(logging.WARNING))
client = importlib.import_module(job["module"]).Client(
    job["key"],
    host=job["url"],
    on_error=lambda error, _: errors.append(str(error)),
    max_retries=0,
    **job["options"],
)
try:
    for call in job["calls"]:
        getattr(client, call.pop("type"))(**{snake(name): call[name] for name in call})
    if not job["options"].get("sync_mode"):
        client.flush()
        client.join()
except Exception as error:  # noqa: BLE001  one by one, the client raises what it meets
    errors.append(repr(error))
sys.stdout.write(json.dumps({"errors": errors}))
