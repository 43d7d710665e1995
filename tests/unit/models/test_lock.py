"""Reading models.lock: what it must say, and how a mistake in it is reported."""

from __future__ import annotations

from pathlib import Path

import pytest

from floodgate.errors import ModelError
from floodgate.models.lock import read_lock

ENTRY = f"""\
format = 1

[heads.words]
edit = "copy"
output = "1/model.bin"
output_sha256 = "{"a" * 64}"

[heads.words.source]
registry = "pypi"
package = "some-words"
version = "1.0"
wheel = "some_words-1.0-py3-none-any.whl"
sha256 = "{"b" * 64}"

[heads.words.source.members]
"some_words/model.bin" = "{"a" * 64}"
"""


def write(folder: Path, text: str) -> Path:
    (folder / "models.lock").write_text(text, encoding="utf-8")
    return folder


def test_a_whole_entry_is_read(tmp_path: Path) -> None:
    head = read_lock(write(tmp_path, ENTRY))["words"]
    assert (head.name, head.edit, head.opt_in, str(head.output)) == ("words", "copy", False, "1/model.bin")
    assert head.source.wheel == "some_words-1.0-py3-none-any.whl"
    assert head.source.members == {"some_words/model.bin": "a" * 64}


def test_a_repository_without_a_lock_locks_nothing(tmp_path: Path) -> None:
    assert read_lock(tmp_path) == {}


def test_the_projects_own_lock_is_readable(repository: Path) -> None:
    heads = read_lock(repository)
    assert list(heads) == ["nsfw", "nudity", "toxicity"]
    assert [name for name, head in heads.items() if head.opt_in] == ["nudity"]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("format = 1", "format = 2", "format is 2, this version reads 1"),
        ("format = 1\n", "", "format is missing"),
        ("[heads.words]", "[heads.words", "is not TOML"),
        ('edit = "copy"\n', "", "head 'words': edit is missing"),
        ('edit = "copy"', "edit = 3", "head 'words': edit must be a str"),
        ('edit = "copy"', 'edit = "copy"\nopt_in = 1', "opt_in must be a bool"),
        ('edit = "copy"', 'edit = "copy"\nprecision = "f32"', "unknown member 'precision'"),
        ("1/model.bin", "../model.bin", "'../model.bin' must be a relative file path"),
        ("1/model.bin", "/etc/passwd", "must be a relative file path"),
        ("a" * 64, "A" * 64, "output_sha256"),
        ("b" * 64, "b" * 63, "source: sha256"),
        ('"pypi"', '"npm"', "registry is 'npm', only 'pypi' is known"),
        ("some-words", "--index-url=http://elsewhere", "package '--index-url"),
        ('version = "1.0"', 'version = "--pre"', "version '--pre'"),
        ("some_words-1.0-py3-none-any.whl", "../evil.whl", "wheel '../evil.whl'"),
        ("[heads.words]", '[heads."../words"]', "a head's name is letters"),
        (f'"some_words/model.bin" = "{"a" * 64}"', "", "members is empty"),
        (f'model.bin" = "{"a" * 64}"', 'model.bin" = "short"', "needs its SHA-256"),
        ("[heads.words.source]", "[heads.words.sauce]", "source"),
    ],
)
def test_a_mistake_is_named(tmp_path: Path, old: str, new: str, message: str) -> None:
    assert old in ENTRY
    text = ENTRY.replace(old, new)
    if "../words" in new:
        text = text.replace("heads.words.", 'heads."../words".')
    with pytest.raises(ModelError) as caught:
        read_lock(write(tmp_path, text))
    assert message in caught.value.message
    assert "models.lock" in caught.value.message
