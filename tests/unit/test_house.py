"""The house keeps its shape: layers, the public surface, the C++ include rule."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import floodgate

ROOT = Path(__file__).resolve().parents[2]


def test_the_public_surface_is_what_is_promised() -> None:
    assert sorted(floodgate.__all__) == ["AsyncClient", "Client", "FloodgateError", "__version__"]
    for name in floodgate.__all__:
        assert getattr(floodgate, name)


def test_python_layers_hold() -> None:
    linter = Path(sys.executable).with_name("lint-imports")
    done = subprocess.run([linter], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_cpp_layers_hold() -> None:
    done = subprocess.run(
        [sys.executable, "scripts/check_includes.py"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_only_their_owners_import_grpc_tritonclient_and_the_core() -> None:
    owners = {
        "import grpc": ("wire/", "client.py"),
        "floodgate.v1": ("wire/", "client.py", "cli/"),
        "tritonclient": ("triton/",),
        "floodgate._core": (
            *("core.py", "link.py", "media.py", "tickets.py"),
            *("triton/channel.py", "wire/rpc/connection.py", "wire/rpc/server.py"),
        ),
    }
    package = ROOT / "python" / "floodgate"
    for path in package.rglob("*.py"):
        name = str(path.relative_to(package))
        if name.startswith("v1/"):
            continue  # generated
        for line in path.read_text(encoding="utf-8").splitlines():
            if not line.lstrip().startswith(("import ", "from ")):
                continue
            for word, allowed in owners.items():
                if word in line:
                    assert name.startswith(allowed), f"{name}: {line.strip()}"
