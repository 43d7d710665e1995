"""``floodgate triton install | serve | repository``: the embedded Triton, and one that serves a Floodgate elsewhere."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from floodgate.cli import settings
from floodgate.cli.served import check_files, served_heads
from floodgate.config import Config, check_address
from floodgate.cores import available_cores
from floodgate.errors import ModelError, StartupError
from floodgate.triton.install import install, locate
from floodgate.triton.standalone import StandaloneOptions, prepare, write_out
from floodgate.types import HeadSpec

app = typer.Typer(help="The inference server.", no_args_is_help=True)


@app.callback()
def triton() -> None:
    """The inference server."""


@app.command("install")
def install_command(config: settings.ConfigOption = None) -> None:
    """Fetches Triton's wheel, verifies it and unpacks what is needed; quiet when it is there."""
    chosen = settings.read(config)
    install(chosen.state_dir, report=lambda line: print(f"==> {line}", flush=True))


@app.command("serve")
def serve_command(
    address: Annotated[str, typer.Option(help="HOST:PORT of Triton's gRPC port.")] = "127.0.0.1:8001",
    server: Annotated[Path | None, typer.Option(help="tritonserver; default: the installed one.")] = None,
    backends: Annotated[Path | None, typer.Option(help="Its folder of back ends; goes with --server.")] = None,
    allow_client_shm: Annotated[
        bool, typer.Option("--allow-client-shm", help="Needed by servers from 2026 on; unknown to older ones.")
    ] = False,
    extra: Annotated[list[str] | None, typer.Argument(help="After --: further arguments of tritonserver.")] = None,
    config: settings.ConfigOption = None,
) -> None:
    """Becomes a Triton over the configured heads, each on its triton.platform, for a Floodgate whose triton.address
    names it and whose configuration is the same."""
    chosen = settings.read(config)
    try:
        check_address(address, 1)
    except ValueError as error:
        raise StartupError(f"--address: {error}") from None
    heads = _sound_heads(chosen, on_this_machine=True)
    libraries = None
    if server is None:
        found = locate(chosen.state_dir)
        if found is None:
            raise StartupError(f"there is no Triton under {chosen.state_dir}; run: floodgate triton install")
        server, backends, libraries = found.server, found.python_backend.parent, found.libraries
    elif backends is None:
        raise StartupError("--server needs --backends, the folder with that server's back ends")
    options = StandaloneOptions(
        run_dir=chosen.state_dir.resolve() / "run" / "standalone",
        server=server,
        backends=backends,
        libraries=libraries,
        address=address,
        allow_client_shm=allow_client_shm,
        threads=chosen.triton.threads or available_cores(),
        precision=chosen.precision,
    )
    command, environment = prepare(options, chosen.model_repository.resolve(), heads, extra or ())
    try:
        os.execve(command[0], command, environment)
    except OSError as error:
        raise StartupError(f"{server}: cannot be run: {error.strerror}") from error


@app.command("repository")
def repository_command(
    folder: Annotated[Path, typer.Argument(help="A new folder.")], config: settings.ConfigOption = None
) -> None:
    """Writes the configured heads, each on its triton.platform, and the back ends that they need into FOLDER, for a
    Triton that is run by other means than `floodgate triton serve`, and says how to run it."""
    chosen = settings.read(config)
    heads = _sound_heads(chosen, on_this_machine=False)
    arguments = write_out(folder, chosen.model_repository.resolve(), heads)
    served = ", ".join(head.name + (f" ({head.config_name})" if head.config_name else "") for head in heads)
    print(f"==> wrote {folder}/models: {served}")
    print(f"==> wrote {folder}/backends: add these folders to those of that Triton (/opt/tritonserver/backends)")
    print("==> its python3 needs numpy, and openvino for heads on the CPU; then run:")
    print("tritonserver --model-repository=MODELS " + " ".join(arguments))


def _sound_heads(config: Config, *, on_this_machine: bool) -> tuple[HeadSpec, ...]:
    """The configured heads, if the file of each is what it should be, and fits the machine where Triton runs on this
    one. Raises ModelError."""
    heads = served_heads(config)
    findings = check_files(config, heads, on_this_machine=on_this_machine)
    if unfit := [finding.message for finding in findings if not finding.servable]:
        raise ModelError("\n".join(unfit))
    return heads
