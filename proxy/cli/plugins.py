"""`kochava-proxy plugins`: the hooks, and who answers each."""

from __future__ import annotations

from pathlib import Path

import click

from proxy.cli.common import config_option, json_option, load_or_exit, print_json, show_and_exit
from proxy.errors import ConfigError
from proxy.mapping.plugins import HOOKS, load_plugins


@click.command()
@config_option
@json_option
def plugins(config_path: Path, as_json: bool) -> None:
    """List the hooks and, for each, the plugins in the order in which they are asked."""
    config = load_or_exit(config_path)
    try:
        loaded = load_plugins(config, config_path.parent)
    except ConfigError as error:
        show_and_exit(error, config_path)
    origins = {plugin.name: plugin for plugin in loaded.loaded}
    hooks = {
        hook: [
            {"plugin": name, "origin": origins[name].origin, "file": origins[name].file}
            for name in loaded.answering(hook)
        ]
        for hook in HOOKS
    }
    if as_json:
        print_json({"hooks": hooks})
        return
    for hook, answering in hooks.items():
        click.echo(hook)
        for each in answering:
            click.echo(f"    {each['plugin']}  ({each['origin']}: {each['file']})")
        if not answering:
            click.echo("    (nobody)")
