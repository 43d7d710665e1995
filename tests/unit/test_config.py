"""Configuration: precedence, and errors that say where."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from floodgate.config import Caller, Config, CoreSettings, Limits, TritonSettings, load_config, split_cores
from floodgate.errors import ConfigError


def write(folder: Path, text: str) -> Path:
    path = folder / "floodgate.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_the_command_line_wins_over_the_environment_over_the_file(tmp_path: Path) -> None:
    path = write(tmp_path, "precision: f32\naddress: 127.0.0.1:1\nlimits:\n  parts: 3\n")
    environ = {"FLOODGATE_ADDRESS": "127.0.0.1:2", "FLOODGATE_LIMITS__PARTS": "4", "PATH": "/bin"}
    config = load_config(path, environ, {"address": "127.0.0.1:3", "precision": None})
    assert (config.address, config.precision, config.limits.parts) == ("127.0.0.1:3", "f32", 4)


def test_lists_in_variables_are_comma_separated() -> None:
    assert load_config(None, {"FLOODGATE_HEADS": "nsfw, nudity"}).heads == ("nsfw", "nudity")


@pytest.mark.parametrize(
    ("text", "where", "what"),
    [
        ("precision: f16\n", ":1:1:", "'auto', 'f32' or 'bf16'"),
        ("limits:\n  part: 3\n", ":2:3:", "did you mean 'parts'?"),
        ("limits:\n  pixels: -4\n", ":2:3:", "greater than or equal to 1"),
        ("heads: []\n", ":1:1:", "at least one head"),
        ("callers:\n  other: {}\n", ":1:1:", '"default" is missing'),
        ("callers:\n  default:\n    lanes: [FAST]\n", ":3:13:", "'STANDARD'"),
        ("address: nowhere\n", ":1:1:", "HOST:PORT"),
        ("a: [\n", ":", "not valid YAML"),
        ("- 1\n", ":1:1:", "mapping"),
    ],
)
def test_a_wrong_file_is_refused_with_place_and_reason(tmp_path: Path, text: str, where: str, what: str) -> None:
    path = write(tmp_path, text)
    with pytest.raises(ConfigError) as raised:
        load_config(path, {})
    assert str(path) + where in str(raised.value)
    assert what in str(raised.value)


def test_several_mistakes_are_reported_at_once(tmp_path: Path) -> None:
    path = write(tmp_path, "precision: f16\nlimits:\n  parts: 0\n")
    with pytest.raises(ConfigError) as raised:
        load_config(path, {})
    assert len(str(raised.value).splitlines()) == 2


def test_an_unknown_variable_is_refused_by_name() -> None:
    with pytest.raises(
        ConfigError, match="FLOODGATE_PRECISON: no such setting\nhint: did you mean FLOODGATE_PRECISION"
    ):
        load_config(None, {"FLOODGATE_PRECISON": "f32"})


def test_a_wrong_variable_is_named() -> None:
    with pytest.raises(ConfigError, match="environment variable FLOODGATE_PRECISION"):
        load_config(None, {"FLOODGATE_PRECISION": "f16"})


def test_a_missing_file_says_so(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read: No such file"):
        load_config(tmp_path / "none.yaml", {})


def test_cores_are_split_as_configured_and_never_to_zero() -> None:
    workers, threads = split_cores(Config())
    assert workers >= 1
    assert threads >= 1
    explicit = Config.model_validate({"core": {"decode_workers": 5}, "triton": {"threads": 7}})
    assert split_cores(explicit) == (5, 7)


def test_the_example_file_shows_every_setting_with_its_default() -> None:
    example = Path(__file__).resolve().parents[2] / "config.example.yaml"
    assert load_config(example, {}) == Config()
    shown = set(re.findall(r"^ *([a-z_]+):", example.read_text(encoding="utf-8"), re.M))
    sections = (Config, Limits, CoreSettings, TritonSettings, Caller)
    assert {name for section in sections for name in section.model_fields} <= shown


def test_one_word_for_a_list_is_refused_in_plain_words(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r":1:1: error: heads: must be a list, such as \[a, b\]"):
        load_config(write(tmp_path, "heads: nsfw\n"), {})
