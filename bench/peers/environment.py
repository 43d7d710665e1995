"""The virtual environment that the peers run in: ``var/peers-venv``, made when first needed."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path

from bench.report import ROOT

REQUIREMENTS = Path(__file__).with_name("requirements.txt")
FOLDER = ROOT / "var" / "peers-venv"


def peers_python() -> Path:
    """The environment's interpreter. Raises CalledProcessError when the packages cannot be installed."""
    python, stamp = FOLDER / "bin" / "python", FOLDER / "installed.sha256"
    digest = hashlib.sha256(REQUIREMENTS.read_bytes()).hexdigest()
    if not (stamp.is_file() and stamp.read_text() == digest):
        print(f"==> peers: installing them into {FOLDER.relative_to(ROOT)}")
        subprocess.run([sys.executable, "-m", "venv", str(FOLDER)], check=True)
        command = [str(python), "-m", "pip", "install", "-q", "--disable-pip-version-check", "-r", str(REQUIREMENTS)]
        subprocess.run(command, check=True)
        stamp.write_text(digest)
    return python
