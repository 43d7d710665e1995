"""A plain Triton: writes a model repository for ``PEER_SETUP`` and becomes ``tritonserver``."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from pathlib import Path

from classifier import CROP_PX, Setup, port, setup

from floodgate.triton.install import locate

_HERE = Path(__file__).resolve().parent

_DECODE = """
name: "decode" backend: "python" max_batch_size: 0
input {{ name: "encoded" data_type: TYPE_UINT8 dims: [-1] }}
output {{ name: "image" data_type: TYPE_UINT8 dims: [1, {px}, {px}, 3] }}
instance_group {{ kind: KIND_CPU count: {workers} }}
"""
_NSFW = """
name: "nsfw" backend: "python" max_batch_size: {batch}
input {{ name: "image" data_type: TYPE_UINT8 dims: [{px}, {px}, 3] }}
output {{ name: "scores" data_type: TYPE_FP32 dims: [1] }}
instance_group {{ kind: KIND_CPU count: 1 }}
dynamic_batching {{ max_queue_delay_microseconds: {wait_us} }}
"""
_IMAGE = """
name: "image" platform: "ensemble" max_batch_size: 0
input {{ name: "encoded" data_type: TYPE_UINT8 dims: [-1] }}
output {{ name: "scores" data_type: TYPE_FP32 dims: [1, 1] }}
ensemble_scheduling {{
  step {{ model_name: "decode" model_version: -1
    input_map {{ key: "encoded" value: "encoded" }} output_map {{ key: "image" value: "image" }} }}
  step {{ model_name: "nsfw" model_version: -1
    input_map {{ key: "image" value: "image" }} output_map {{ key: "scores" value: "scores" }} }}
}}
"""


def write_repository(folder: Path, wanted: Setup, *, decode: bool) -> None:
    """The head alone, or with ``decode`` an ensemble "image" that decodes first."""
    models = {"nsfw": (_NSFW, "triton_nsfw.py")}
    if decode:
        models |= {"decode": (_DECODE, "triton_decode.py"), "image": (_IMAGE, "")}
    for name, (config, program) in models.items():
        (folder / name / "1").mkdir(parents=True)
        text = config.format(
            px=CROP_PX, workers=wanted.workers, batch=wanted.batch, wait_us=round(1000 * wanted.wait_ms)
        )
        (folder / name / "config.pbtxt").write_text(text, encoding="utf-8")
        if program:
            shutil.copy(_HERE / program, folder / name / "1" / "model.py")


def main() -> None:
    install = locate(Path(os.environ["PEER_STATE"]))
    if install is None:
        raise SystemExit("there is no Triton; run: make setup")
    scratch = Path(tempfile.mkdtemp(prefix="triton-", dir=os.environ["PEER_SCRATCH"]))
    write_repository(scratch / "repository", setup(), decode=os.environ["PEER_NAME"] == "triton_ensemble")
    binaries = install.python.lay_out(scratch / "python")
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")} | {
        "PATH": f"{binaries}:{os.environ['PATH']}",
        "LD_LIBRARY_PATH": f"{install.libraries}:{install.python.library.parent}",
        "PEER_SERVERS": str(_HERE),
        "OPENBLAS_NUM_THREADS": "1",
    }
    arguments = [
        str(install.server),
        f"--model-repository={scratch / 'repository'}",
        f"--backend-directory={install.python_backend.parent}",
        "--http-address=127.0.0.1",
        f"--http-port={port()}",
        "--grpc-address=127.0.0.1",
        f"--grpc-port={port() + 1}",
        "--allow-metrics=false",
        "--disable-auto-complete-config",
        f"--backend-config=python,shm-region-prefix-name=peer_{os.getpid()}_",
        "--log-info=false",
    ]
    sys.stdout.flush()
    os.execve(arguments[0], arguments, environment)


if __name__ == "__main__":
    main()
