"""``floodgate triton install``: unpack the embedded Triton."""

from __future__ import annotations

import typer

from floodgate.cli import settings
from floodgate.triton.install import install

app = typer.Typer(help="Install the embedded inference server.", no_args_is_help=True)


@app.callback()
def triton() -> None:
    """Install the embedded inference server."""


@app.command("install")
def install_command(config: settings.ConfigOption = None) -> None:
    """Fetches Triton's wheel, verifies it and unpacks what is needed; quiet when it is there."""
    chosen = settings.read(config)
    install(chosen.state_dir, report=lambda line: print(f"==> {line}", flush=True))
