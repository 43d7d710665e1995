"""``floodgate models pull | list | verify``: the weights of the heads."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.table import Table

from floodgate.cli import settings
from floodgate.cli.table import console_for_tables
from floodgate.models import list_heads, pull, verify

app = typer.Typer(help="Fetch, list and verify the weights of the heads.", no_args_is_help=True)
HeadsArgument = Annotated[list[str] | None, typer.Argument(help="Heads; default: the configured ones.")]


@app.command("pull")
def pull_command(heads: HeadsArgument = None, config: settings.ConfigOption = None) -> None:
    """Fetches, verifies and edits weights; quiet when they are there already."""
    chosen = settings.read(config)
    pull(
        chosen.model_repository,
        heads or list(chosen.heads),
        cache=chosen.state_dir / "wheels",
        report=lambda line: print(f"==> {line}", flush=True),
    )


@app.command("list")
def list_command(config: settings.ConfigOption = None) -> None:
    """Shows every head of the repository: what it is for, under which licence, and whether its weights are here."""
    chosen = settings.read(config)
    states = {finding.head: finding.state for finding in verify(chosen.model_repository, None)}
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("head", "served", "weights", "licence", "what it judges"):
        table.add_column(heading)
    for card in list_heads(chosen.model_repository):
        state = states.get(card.name)
        table.add_row(
            card.name,
            "yes" if card.name in chosen.heads else "no",
            state.value if state else "?",
            card.licence,
            card.judges,
        )
    console_for_tables().print(table)


@app.command("verify")
def verify_command(heads: HeadsArgument = None, config: settings.ConfigOption = None) -> None:
    """Compares weights with the lock file. Exit code 1 when a head's are missing or differ."""
    chosen = settings.read(config)
    findings = verify(chosen.model_repository, heads or None)
    for finding in findings:
        print(f"{finding.head}: {finding.state.value}" + (f": {finding.message}" if finding.message else ""))
    served = set(heads or chosen.heads)
    bad = [f for f in findings if not f.servable and f.head in served]
    if bad:
        raise typer.Exit(1)
