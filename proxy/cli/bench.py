"""`kochava-proxy bench`: how fast, and how near to what this machine can do."""

from __future__ import annotations

import sys
from pathlib import Path

import click
import msgspec

from proxy.cli.common import BAD_ANSWER


@click.command()
@click.option("--quick", is_flag=True, help="Under a minute: less of everything, one round.")
@click.option("--only", multiple=True, metavar="ROW",
              help="Only this row and what it is compared with; may be repeated.")  # fmt: skip
@click.option("--rounds", type=click.IntRange(1), help="How often each is measured, however long "
              "it takes.")  # fmt: skip
@click.option("--json", "json_file", type=click.Path(path_type=Path, dir_okay=False),
              help="Write the results to this file too.")  # fmt: skip
@click.option("--folder", type=click.Path(path_type=Path, exists=True, file_okay=False),
              help="Where to put the files of the run: on the disk to be measured.")  # fmt: skip
def bench(
    quick: bool,
    only: tuple[str, ...],
    rounds: int | None,
    json_file: Path | None,
    folder: Path | None,
) -> None:
    """Measure this machine, and the proxy on it: ratios against ceilings of the same run.

    Takes up to ten minutes on two cores. Exits with 0 whatever the figures are, with 1 if a row
    could not be measured. docs/benchmarks.md says what each row is.
    """
    try:  # only here: it is slow to import, and a distribution may leave it out
        from bench.report import show  # noqa: PLC0415
        from bench.rows import ROWS  # noqa: PLC0415
        from bench.run import Options, run_to_the_end  # noqa: PLC0415
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != "bench":
            raise
        raise click.ClickException("the package `bench` is not installed here") from None
    names = [row.name for row in ROWS]
    if unknown := set(only) - set(names):
        raise click.UsageError(f"no row {', '.join(sorted(unknown))}; there are {', '.join(names)}")
    options = Options(quick, rounds or 0, only, str(folder or ""))
    report = run_to_the_end(options, lambda what: click.echo(what, err=True))
    show(report)
    if json_file is not None:
        encoded = msgspec.json.format(msgspec.json.encode(report), indent=2)
        json_file.parent.mkdir(parents=True, exist_ok=True)
        json_file.write_bytes(encoded + b"\n")
    if report.failed:
        sys.exit(BAD_ANSWER)
