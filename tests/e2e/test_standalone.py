"""`floodgate triton serve` and `floodgate health`: two processes that share memory, as in a pod."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from observed import metric

from bench.report import ROOT
from bench.server import serving
from floodgate import Client
from floodgate.triton.install import locate
from floodgate.triton.libpython import find_python_runtime

pytestmark = pytest.mark.triton

PROGRAM = str(Path(sys.executable).with_name("floodgate"))
PATIENCE_S = 120


def health(address: str, *arguments: str) -> tuple[int, str]:
    done = subprocess.run(
        [PROGRAM, "health", f"--target={address}", *arguments], cwd=ROOT, capture_output=True, text=True, check=False
    )
    return done.returncode, done.stdout.strip()


@pytest.fixture(scope="module")
def state(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("state")


@pytest.fixture(scope="module")
def triton(state: Path) -> Iterator[str]:
    """The address of what `floodgate triton serve` has become, told where server and back ends are as in the image."""
    install = locate(ROOT / "var")
    assert install is not None, "Triton is not installed; `make test` does it"
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    where = (f"--address={address}", f"--server={install.server}", f"--backends={install.python_backend.parent}")
    process = subprocess.Popen(
        [PROGRAM, "triton", "serve", *where, "--", "--log-verbose=0"],
        cwd=ROOT,
        env={
            "PATH": "/usr/bin:/bin",
            "LD_LIBRARY_PATH": str(install.libraries),
            "FLOODGATE_STATE_DIR": str(state),
            "FLOODGATE_PRECISION": "f32",
        },
        stderr=subprocess.DEVNULL,
    )
    try:
        assert health(address, "--service=", f"--wait={PATIENCE_S}") == (0, "SERVING")
        yield address
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0


def test_a_second_one_leaves_the_first_ones_folder_alone(triton: str, state: Path) -> None:
    where = {"PATH": "/usr/bin:/bin", "FLOODGATE_STATE_DIR": str(state)}
    install = locate(ROOT / "var")
    assert install is not None
    command = [PROGRAM, "triton", "serve", f"--server={install.server}", f"--backends={install.python_backend.parent}"]
    done = subprocess.run(command, cwd=ROOT, env=where, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "another `floodgate triton serve` runs from it" in done.stderr
    assert health(triton, "--service=") == (0, "SERVING")


def test_a_server_beside_it_serves_through_shared_memory(triton: str) -> None:
    settings = {"FLOODGATE_TRITON__ADDRESS": triton, "FLOODGATE_TRITON__MEMORY": "shm"}
    with serving(settings) as server, Client(server.target) as client:
        decision = client.moderate(
            image=(ROOT / "examples" / "astronaut.jpg").read_bytes(), text="a cat", trace=True, timeout=60
        )
        assert {score.head for score in decision.scores} == {"nsfw", "toxicity"}
        assert not decision.degraded
        assert metric(server, "floodgate_triton_inline_bytes_total") == 0
        assert health(server.target) == (0, "SERVING")


def test_a_triton_that_is_run_by_other_means_serves_what_was_written_for_it(tmp_path: Path) -> None:
    """From copies alone, by the printed arguments, with its own back ends and those that were written."""
    install = locate(ROOT / "var")
    assert install is not None, "Triton is not installed; `make test` does it"
    out = tmp_path / "out"
    written = subprocess.run(
        [PROGRAM, "triton", "repository", str(out)], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert not [path for path in out.rglob("*") if path.is_symlink()]
    *_, line = written.stdout.splitlines()
    program, *arguments = line.replace("MODELS", str(out / "models")).split()
    assert program == "tritonserver"
    (out / "backends" / "python").symlink_to(install.python_backend)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    python = find_python_runtime()
    environment = {
        "PATH": f"{python.lay_out(tmp_path / 'python')}:/usr/bin:/bin",
        "LD_LIBRARY_PATH": f"{install.libraries}:{python.library.parent}",
    }
    places = (f"--backend-directory={out / 'backends'}", "--grpc-address=127.0.0.1", f"--grpc-port={address[10:]}")
    quiet = ("--allow-http=false", "--allow-metrics=false")
    process = subprocess.Popen(
        [install.server, *arguments, *places, *quiet], env=environment, stderr=subprocess.DEVNULL
    )
    try:
        assert health(address, "--service=", f"--wait={PATIENCE_S}") == (0, "SERVING")
        settings = {"FLOODGATE_TRITON__ADDRESS": address}
        with serving(settings) as server, Client(server.target) as client:
            photo = (ROOT / "examples" / "astronaut.jpg").read_bytes()
            decision = client.moderate(image=photo, text="a cat", trace=True, timeout=60)
        assert {score.head for score in decision.scores} == {"nsfw", "toxicity"}
        assert not decision.degraded
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)


def test_what_was_written_is_never_written_over(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("")
    done = subprocess.run(
        [PROGRAM, "triton", "repository", str(tmp_path)], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (1, f"error: {tmp_path}: is not empty; name a new folder\n")


def test_who_is_not_there_is_not_healthy() -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        assert health(f"127.0.0.1:{nobody.getsockname()[1]}") == (1, "UNREACHABLE")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--server=/nowhere/tritonserver", "--backends=/tmp"], "/nowhere/tritonserver: there is no such program"),
        (["--server=/bin/true", "--backends=/tmp"], "/tmp: has no Python backend"),
        (["--server=/bin/true"], "--server needs --backends"),
        (["--address=nowhere"], '--address: an address is HOST:PORT, such as "127.0.0.1:50051", not "nowhere"'),
    ],
)
def test_a_triton_that_is_not_there_is_named(arguments: list[str], words: str) -> None:
    done = subprocess.run(
        [PROGRAM, "triton", "serve", *arguments], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert words in done.stderr
    assert "Traceback" not in done.stderr
