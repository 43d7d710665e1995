"""The ``floodgate`` command. Each sub-command lives in the module of its name."""

from __future__ import annotations

import logging
import sys

import typer

from floodgate.cli import doctor, frames, health, models, moderate, policy, serve, triton
from floodgate.errors import FloodgateError

app = typer.Typer(
    name="floodgate",
    help="A content-moderation inference server.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.command("serve")(serve.command)
app.command("moderate")(moderate.command)
app.command("frames")(frames.command)
app.command("health")(health.command)
app.command("doctor")(doctor.command)
app.add_typer(policy.app, name="policy")
app.add_typer(models.app, name="models")
app.add_typer(triton.app, name="triton")


def main() -> None:
    """Entry point: a FloodgateError ends with its sentence on stderr and exit code 1; no trace."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    try:
        app()
    except FloodgateError as error:
        text = str(error)
        located = ": error: " in text.partition("\n")[0]  # said after the file's name and line already
        print(text if located else f"error: {text}", file=sys.stderr)
        sys.exit(1)
