"""`python -m bench`, where no `kochava-proxy` is on the path."""

from __future__ import annotations

from proxy.cli.bench import bench

bench()
