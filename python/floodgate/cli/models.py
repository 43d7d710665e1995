"""``floodgate models pull | list | verify | build``: the weights of the heads, and what is built of them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from floodgate.cli import settings
from floodgate.cli.table import console_for_tables
from floodgate.config import Config
from floodgate.errors import ModelError
from floodgate.models import BuildOptions, build, list_heads, pull, verify
from floodgate.models.build import PRECISIONS
from floodgate.models.tensorrt import Profile
from floodgate.triton.repository import CONFIG, config_file, load_head
from floodgate.types import HeadSpec

app = typer.Typer(help="Fetch, list, verify and build the weights of the heads.", no_args_is_help=True)
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


@app.command("build")
def build_command(
    platform: Annotated[str, typer.Option(help=f"One of {', '.join(PRECISIONS)}.")],
    heads: Annotated[
        list[str] | None,
        typer.Argument(help="Heads; default: all that the platform can run and whose weights are here."),
    ] = None,
    precision: Annotated[
        str | None, typer.Option(help="fp16, bf16, int8, fp8 or fp32; default: fp16, and int8 for openvino.")
    ] = None,
    profile: Annotated[
        str | None, typer.Option(help="Rows a batch as min,opt,max; default: 1, half of and all of the head's most.")
    ] = None,
    compute_capability: Annotated[
        list[str] | None, typer.Option(help="tensorrt-rtx: build for this one, such as 8.9; may be repeated.")
    ] = None,
    photos: Annotated[
        Path | None, typer.Option(help="int8, fp8: folder of pictures like those that will be judged.")
    ] = None,
    config: settings.ConfigOption = None,
) -> None:
    """Builds heads for another platform of their locked weights: TensorRT plans, or int8 graphs for the CPU."""
    chosen = settings.read(config)
    options = BuildOptions(
        platform,
        PRECISIONS.get(platform, ("",))[0] if precision is None else precision,
        Profile.parse(profile) if profile is not None else None,
        tuple(compute_capability or ()),
        chosen.state_dir / "cache" / "tensorrt",
        photos,
    )
    specs = _buildable(chosen, heads, platform)
    build(chosen.model_repository, specs, options, report=lambda line: print(f"==> {line}", flush=True))


_CONFIG_OF = {"tensorrt": "tensorrt", "tensorrt-rtx": "tensorrt", "openvino": "openvino-int8"}


def _buildable(chosen: Config, names: list[str] | None, platform: str) -> list[HeadSpec]:
    """The heads to build: those named, or all that have a configuration for the platform; of those that are not
    configured, whose weights are here."""
    config_name = _CONFIG_OF[platform]
    specs = []
    if names and len(set(names)) != len(names):
        raise ModelError(f"a head is named twice: {', '.join(names)}")
    for name in names or _every_head(chosen):
        spec = load_head(chosen.model_repository, name)
        folder = chosen.model_repository / name
        if config_file(folder, config_name) != folder / CONFIG:
            specs.append(spec)
        elif names:
            raise ModelError(f"head {name!r} has no configs/{config_name}.pbtxt: it runs as its config.pbtxt says")
        else:
            print(f"==> {name}: stays on the CPU, as it has no configs/{config_name}.pbtxt", flush=True)
    if not specs:
        raise ModelError(f"no head has a configs/{config_name}.pbtxt: there is nothing to build")
    return specs


def _every_head(chosen: Config) -> list[str]:
    """The configured heads, then the others whose weights are here; says which are not."""
    others = [each for each in verify(chosen.model_repository, None) if each.head not in chosen.heads]
    for finding in others:
        if not finding.servable:
            print(f"==> {finding.head}: not built, its weights are not here (floodgate models pull {finding.head})")
    return [*chosen.heads, *(finding.head for finding in others if finding.servable)]
