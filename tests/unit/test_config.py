"""Configuration: precedence, and errors that say where."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from floodgate.config import (
    Caller,
    Config,
    CoreSettings,
    Limits,
    MediaSettings,
    TritonSettings,
    load_config,
)
from floodgate.cores import available_cores, split_cores
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
        ("address: ''\n", ":1:1:", "HOST:PORT"),
        ("triton: {address: nowhere}\n", ":1:10:", "HOST:PORT"),
        ("triton: {address: '127.0.0.1:0'}\n", ":1:10:", "HOST:PORT"),
        ("triton: {platform: vulkan}\n", ":1:10:", "'cpu', 'tensorrt' or 'openvino-int8'"),
        ("triton: {platforms: {nsfw: vulkan}}\n", ":1:22:", "'cpu', 'tensorrt' or 'openvino-int8'"),
        ("triton: {platforms: {nudity: cpu}}\n", ":1:1:", "names 'nudity', which is not among heads"),
        ("triton: {platforms: [nsfw]}\n", ":1:10:", "triton.platforms: must be a mapping of keys to values"),
        ("a: [\n", ":", "not valid YAML"),
        ("- 1\n", ":1:1:", "mapping"),
        ("media: 3\n", ":1:1:", "media: must be a mapping of keys to values"),
    ],
)
def test_a_wrong_file_is_refused_with_place_and_reason(tmp_path: Path, text: str, where: str, what: str) -> None:
    path = write(tmp_path, text)
    with pytest.raises(ConfigError) as raised:
        load_config(path, {})
    assert str(path) + where in str(raised.value)
    assert what in str(raised.value)


@pytest.mark.parametrize("key", ["image_bytes", "video_bytes", "text_bytes"])
def test_a_part_that_no_message_holds_is_refused(tmp_path: Path, key: str) -> None:
    path = write(tmp_path, f"limits:\n  message_bytes: 5000\n  {key}: 5001\n")
    with pytest.raises(ConfigError) as refused:
        load_config(path, {})
    assert str(refused.value).startswith(
        f"{path}:3:3: error: limits.{key}: 5001 bytes never arrive: one message holds 5000"
    )
    assert load_config(write(tmp_path, f"limits:\n  message_bytes: 5000\n  {key}: 5000\n"), {})
    assert load_config(None, {"FLOODGATE_LIMITS__MESSAGE_BYTES": "5000"}), "what nobody has set need not fit"


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
    split = split_cores(Config())
    assert split.decode_workers >= 1
    assert split.inference_threads >= 1
    explicit = Config.model_validate({"acceptors": 3, "core": {"decode_workers": 5}, "triton": {"threads": 7}})
    split = split_cores(explicit)
    assert (split.acceptors, split.decode_workers, split.inference_threads) == (3, 5, 7)


@pytest.mark.parametrize(
    ("cores", "acceptors", "workers", "threads", "is_shared"),
    [
        (1, 0, 1, 1, True),
        (2, 0, 1, 1, False),
        (8, 0, 4, 4, False),
        (16, 2, 7, 7, False),
        (9, 2, 3, 4, False),
        (2, 2, 1, 1, True),
    ],
)
def test_acceptors_get_a_core_each_and_the_rest_is_shared(
    monkeypatch: pytest.MonkeyPatch, cores: int, acceptors: int, workers: int, threads: int, is_shared: bool
) -> None:
    monkeypatch.setattr("floodgate.cores.available_cores", lambda: cores)
    split = split_cores(Config(acceptors=acceptors))
    assert (split.cores, split.decode_workers, split.inference_threads) == (cores, workers, threads)
    assert split.is_shared is is_shared


@pytest.mark.parametrize(
    ("own", "above", "expected"),
    [
        ("max 100000", "max 100000", 16),
        ("400000 100000", "max 100000", 4),
        ("max 100000", "300000 100000", 3),
        ("800000 100000", "250000 100000", 2),  # what is left over is no core
        ("50000 100000", "max 100000", 1),
        ("what is this", "max 100000", 16),
    ],
)
def test_cores_are_what_the_quotas_of_all_cgroups_allow(tmp_path: Path, own: str, above: str, expected: int) -> None:
    service = tmp_path / "fs" / "system.slice" / "floodgate.service"
    service.mkdir(parents=True)
    (service / "cpu.max").write_text(own + "\n")
    (service.parent / "cpu.max").write_text(above + "\n")
    membership = tmp_path / "cgroup"
    membership.write_text("0::/system.slice/floodgate.service\n")
    assert available_cores(membership, tmp_path / "fs", cores=16) == expected


def test_cores_are_those_of_the_mask_where_there_is_no_cgroup(tmp_path: Path) -> None:
    assert available_cores(tmp_path / "none", tmp_path, cores=5) == 5


def test_a_mapping_in_a_variable_is_refused_in_plain_words() -> None:
    with pytest.raises(ConfigError, match=r"_PLATFORMS: error: .*a mapping of keys to values, which only the file"):
        load_config(None, {"FLOODGATE_TRITON__PLATFORMS": "nsfw=tensorrt"})


def test_acceptors_need_sandboxed_decoders(tmp_path: Path) -> None:
    load_config(write(tmp_path, "media:\n  sandbox: false\n"), {})
    with pytest.raises(ConfigError, match=r"acceptors: media\.sandbox is false.*\(acceptors: 0\)"):
        load_config(write(tmp_path, "acceptors: 2\nmedia:\n  sandbox: false\n"), {})


def test_more_acceptors_than_the_arena_has_room_for_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"1:1: error: acceptors: core\.arena_bytes shared by 16 leaves 30198988"):
        load_config(write(tmp_path, "acceptors: 16\n"), {})


def test_the_example_file_shows_every_setting_with_its_default() -> None:
    example = Path(__file__).resolve().parents[2] / "config.example.yaml"
    assert load_config(example, {}) == Config()
    shown = set(re.findall(r"^ *([a-z_]+):", example.read_text(encoding="utf-8"), re.M))
    sections = (Config, Limits, MediaSettings, CoreSettings, TritonSettings, Caller)
    assert {name for section in sections for name in section.model_fields} <= shown


def test_one_word_for_a_list_is_refused_in_plain_words(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r":1:1: error: heads: must be a list, such as \[a, b\]"):
        load_config(write(tmp_path, "heads: nsfw\n"), {})
