"""`kochava-proxy check`: is the configuration good, and do all plugins load?"""

from __future__ import annotations

from pathlib import Path

import click

from proxy.cli.common import config_option, load_or_exit, show_and_exit
from proxy.errors import ConfigError
from proxy.mapping.plugins import load_plugins
from proxy.receive.listener import Listener


@click.command()
@config_option
def check(config_path: Path) -> None:
    """Validate the configuration and the plugins; exits with 2, and every problem, if bad."""
    config = load_or_exit(config_path)
    try:
        loaded = load_plugins(config, config_path.parent).loaded
        Listener(config.server, config_path.parent)
    except ConfigError as error:
        show_and_exit(error, config_path)
    click.echo(f"{config_path}: good; {len(config.sources)} sources, {len(loaded)} plugins")
