"""Installs what pyproject.toml asks for (build, run, and the extras that run here), not the project itself."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

NEED_A_GPU = ("tensorrt-cu12", "tensorrt-cu13")
"""The extras that are of no use without one, and cannot be installed from PyPI alone."""


def main() -> int:
    project = tomllib.loads(Path("pyproject.toml").read_text(encoding="utf-8"))
    wanted = [*project["build-system"]["requires"], *project["project"]["dependencies"]]
    for name, extra in project["project"]["optional-dependencies"].items():
        wanted += extra if name not in NEED_A_GPU else []
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *wanted]
    done = subprocess.run(pip, capture_output=True, text=True, check=False)
    if done.returncode:
        print(done.stdout + done.stderr, file=sys.stderr)
    return done.returncode


if __name__ == "__main__":
    sys.exit(main())
