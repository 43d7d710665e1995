"""What deployment files say, read: command lines by the real parser, settings by the real reader."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import typer.main

from bench.report import ROOT
from floodgate.cli import app
from floodgate.config import Config, load_config

DEPLOY = ROOT / "deploy"


def parsed(arguments: Sequence[str]) -> dict[str, Any]:
    """The options of ``floodgate ARGUMENTS``; nothing runs. Raises UsageError (click's, which typer brings along) for a
    command or an option that there is not."""
    command: Any = typer.main.get_command(app)
    context = command.make_context("floodgate", list(arguments))
    while hasattr(command, "resolve_command"):
        name, command, rest = command.resolve_command(context, [*context._protected_args, *context.args])
        context = command.make_context(name, rest, parent=context)
    return dict(context.params)


def configured(environment: Mapping[str, str], file: Path | None = None) -> Config:
    """The settings that a server with this environment has. Raises ConfigError for a variable that sets nothing."""
    return load_config(file, {name: value for name, value in environment.items() if name.startswith("FLOODGATE_")})
