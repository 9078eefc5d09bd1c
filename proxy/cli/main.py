"""The console script `kochava-proxy`: one command a file."""

from __future__ import annotations

import click

from proxy.cli.bench import bench
from proxy.cli.check import check
from proxy.cli.common import group_without
from proxy.cli.dead import dead
from proxy.cli.explain import explain
from proxy.cli.plugins import plugins
from proxy.cli.run import run
from proxy.cli.sandbox import sandbox
from proxy.cli.stats import stats
from proxy.observe.logs import configure_logs


@click.group(
    cls=group_without("test", "init"),
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.version_option(package_name="kochava-proxy")
def main() -> None:
    """A self-hosted proxy between Segment and Kochava.

    Exit codes: 0 fine, 1 the answer is bad, 2 usage or configuration.
    """
    configure_logs()


for command in (run, sandbox, check, explain, plugins, stats, dead, bench):
    main.add_command(command)
