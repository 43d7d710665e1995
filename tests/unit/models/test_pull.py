"""Pulling: real wheels through the real pip, from a folder instead of the network."""

from __future__ import annotations

import hashlib
import os
import resource
import subprocess
import sys
import zipfile
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from floodgate.errors import ModelError
from floodgate.models import State, pull, verify
from floodgate.models.wheels import DownloadFailed

WEIGHTS = b"the weights of a very small model"
WHEEL = "some_words-1.0-py3-none-any.whl"


def make_wheel(folder: Path, weights: bytes = WEIGHTS) -> Path:
    """A wheel that pip accepts, with the weights as its one data file."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / WHEEL
    info = "some_words-1.0.dist-info"
    with zipfile.ZipFile(path, "w") as wheel:
        wheel.writestr("some_words/model.bin", weights)
        wheel.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: some-words\nVersion: 1.0\n")
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{info}/RECORD", "")
    return path


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@dataclass
class Repository:
    """A model repository with one locked head, ``words``, and the folder that its wheel is published in."""

    root: Path
    published: Path
    cache: Path
    lines: list[str] = field(default_factory=list)

    @property
    def weights(self) -> Path:
        return self.root / "words" / "1" / "model.bin"

    def lock(self, **changes: str) -> None:
        wheel = self.published / WHEEL
        values = {
            "edit": "copy",
            "opt_in": "false",
            "output_sha256": digest(WEIGHTS),
            "version": "1.0",
            "sha256": digest(wheel.read_bytes()),
            "member": "some_words/model.bin",
            "member_sha256": digest(WEIGHTS),
        } | changes
        (self.root / "models.lock").write_text(
            f"""format = 1
            [heads.words]
            edit = "{values["edit"]}"
            opt_in = {values["opt_in"]}
            output = "1/model.bin"
            output_sha256 = "{values["output_sha256"]}"
            [heads.words.source]
            registry = "pypi"
            package = "some-words"
            version = "{values["version"]}"
            wheel = "{WHEEL}"
            sha256 = "{values["sha256"]}"
            [heads.words.source.members]
            "{values["member"]}" = "{values["member_sha256"]}"
            """
        )

    def pull(self, *heads: str) -> list[bool]:
        done = pull(self.root, heads or None, cache=self.cache, report=self.lines.append)
        return [head.written for head in done]

    def state(self) -> State:
        (finding,) = verify(self.root, ["words"])
        return finding.state


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Repository:
    made = Repository(tmp_path / "repository", tmp_path / "published", tmp_path / "cache")
    (made.root / "words").mkdir(parents=True)
    (made.root / "words" / "config.pbtxt").write_text('name: "words"\n')
    make_wheel(made.published)
    made.lock()
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(made.published))
    return made


def test_pull_downloads_checks_and_writes(repository: Repository) -> None:
    assert repository.state() is State.MISSING
    assert repository.pull() == [True]
    assert repository.weights.read_bytes() == WEIGHTS
    assert repository.state() is State.OK
    assert [line.split()[0] for line in repository.lines] == ["downloading", "words:", "words:"]
    assert [path.name for path in repository.cache.iterdir()] == [WHEEL]
    assert [path.name for path in repository.weights.parent.iterdir()] == ["model.bin"]


def test_a_second_pull_does_nothing_and_says_nothing(repository: Repository, monkeypatch: pytest.MonkeyPatch) -> None:
    repository.pull()
    written_at = repository.weights.stat().st_mtime_ns
    repository.lines.clear()
    (repository.cache / WHEEL).unlink()
    monkeypatch.setenv("PIP_FIND_LINKS", "")
    assert repository.pull() == [False]
    assert repository.lines == []
    assert repository.weights.stat().st_mtime_ns == written_at


def test_a_cached_wheel_needs_no_network(repository: Repository, monkeypatch: pytest.MonkeyPatch) -> None:
    make_wheel(repository.cache).write_bytes((repository.published / WHEEL).read_bytes())
    monkeypatch.setenv("PIP_FIND_LINKS", "")
    assert repository.pull() == [True]
    assert "downloading" not in " ".join(repository.lines)


def test_damaged_weights_are_found_and_replaced(repository: Repository) -> None:
    repository.pull()
    repository.weights.write_bytes(b"something else")
    assert repository.state() is State.DIFFERENT
    assert repository.pull() == [True]
    assert repository.weights.read_bytes() == WEIGHTS


def test_a_tampered_wheel_in_the_cache_is_refused_and_kept(repository: Repository) -> None:
    wheel = make_wheel(repository.cache, b"evil weights")
    with pytest.raises(ModelError) as caught:
        repository.pull()
    found, expected = digest(wheel.read_bytes()), digest((repository.published / WHEEL).read_bytes())
    assert f"expected SHA-256 {expected}, found {found}" in caught.value.message
    assert "head 'words'" in caught.value.message
    assert not repository.weights.exists()
    assert wheel.exists()


def test_a_downloaded_wheel_other_than_the_locked_one_never_reaches_the_cache(repository: Repository) -> None:
    repository.lock(sha256="c" * 64)
    with pytest.raises(ModelError, match=f"expected SHA-256 {'c' * 64}, found {'[0-9a-f]' * 64}"):
        repository.pull()
    assert list(repository.cache.iterdir()) == []


def test_a_member_other_than_the_locked_one_is_refused(repository: Repository) -> None:
    repository.lock(member_sha256="d" * 64)
    with pytest.raises(ModelError, match=r"some_words/model\.bin .* expected SHA-256 d{64}, found"):
        repository.pull()
    repository.lock(member="some_words/other.bin")
    with pytest.raises(ModelError, match=r"has no .*some_words/other\.bin"):
        repository.pull()


def test_an_edit_that_makes_other_bytes_leaves_the_old_weights(repository: Repository) -> None:
    repository.pull()
    repository.lock(output_sha256="e" * 64)
    with pytest.raises(ModelError, match=f"expected SHA-256 {'e' * 64}, made {digest(WEIGHTS)}"):
        repository.pull()
    assert repository.weights.read_bytes() == WEIGHTS


def test_no_network_says_what_could_not_be_fetched(repository: Repository, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PIP_NO_INDEX")
    monkeypatch.setenv("PIP_FIND_LINKS", "")
    monkeypatch.setenv("PIP_EXTRA_INDEX_URL", "")
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    monkeypatch.setenv("PIP_RETRIES", "0")
    with pytest.raises(DownloadFailed, match=r"head 'words': cannot download some-words==1\.0: .+"):
        repository.pull()
    assert list(repository.cache.iterdir()) == []


def test_an_unpublished_version_is_named(repository: Repository) -> None:
    repository.lock(version="9.9")
    with pytest.raises(DownloadFailed, match=r"some-words==9\.9"):
        repository.pull()


def test_an_unknown_edit_is_named(repository: Repository) -> None:
    repository.lock(edit="os")
    with pytest.raises(ModelError, match="unknown edit 'os'; known are copy"):
        repository.pull()


def test_a_graph_edit_refuses_what_is_not_the_graph(repository: Repository) -> None:
    pytest.importorskip("onnx", reason="graph edits need floodgate[models]")
    repository.lock(edit="nsfw")
    with pytest.raises(ModelError, match="head 'words'"):
        repository.pull()


def test_an_opt_in_head_is_pulled_only_by_name(repository: Repository) -> None:
    repository.lock(opt_in="true")
    assert repository.pull() == []
    assert repository.pull("words") == [True]


def test_an_unknown_head_is_named_and_an_unlocked_one_has_nothing_to_pull(repository: Repository) -> None:
    with pytest.raises(ModelError, match=r"there is no head 'wrods'.*locked heads are words"):
        repository.pull("wrods")
    (repository.root / "own" / "1").mkdir(parents=True)
    (repository.root / "own" / "config.pbtxt").write_text('name: "own"\n')
    assert repository.pull("own") == []


def test_a_version_folder_that_cannot_be_written_is_named(repository: Repository) -> None:
    (repository.root / "words" / "1").write_bytes(b"a file where the folder should be")
    with pytest.raises(ModelError, match="head 'words': cannot write its weights"):
        repository.pull()


def test_a_write_that_fails_half_way_leaves_the_old_weights(repository: Repository) -> None:
    repository.pull()
    repository.weights.write_bytes(b"old")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(WEIGHTS) // 2, before[1]))  # a disk that fills up
    try:
        with pytest.raises(ModelError, match="head 'words': cannot write its weights"):
            repository.pull()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert repository.weights.read_bytes() == b"old"
    assert [path.name for path in repository.weights.parent.iterdir()] == ["model.bin"]


def test_reading_the_repository_needs_no_graph_library(repository: Repository) -> None:
    program = (
        "import sys, pathlib; from floodgate import models; models.verify(pathlib.Path(sys.argv[1]), None); "
        "print(sorted({'onnx', 'joblib', 'sklearn', 'openvino', 'tritonclient'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(repository.root)],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert done.stdout.strip() == "[]"
