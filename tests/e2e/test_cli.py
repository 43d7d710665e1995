"""The command line as a newcomer meets it: what it prints, where it points, how it exits."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from specimens import PNG

from bench.report import ROOT
from bench.server import Server

FLOODGATE = str(Path(sys.executable).with_name("floodgate"))
EXAMPLES = ROOT / "examples"

Run = Callable[..., subprocess.CompletedProcess[str]]


def floodgate(*arguments: object, **settings: object) -> subprocess.CompletedProcess[str]:
    """Runs a command; keyword arguments are settings (``model_repository=…``)."""
    own = {f"FLOODGATE_{name.upper()}": str(value) for name, value in settings.items()}
    return subprocess.run(
        [FLOODGATE, *map(str, arguments)],
        cwd=ROOT,
        env={**os.environ, **own},
        capture_output=True,
        text=True,
        timeout=120,
    )


def assert_fails(done: subprocess.CompletedProcess[str], *words: str) -> None:
    """Exit code 1 and sentences, not a trace, that match ``words`` in order."""
    said = done.stderr + done.stdout
    assert done.returncode == 1, said
    assert "Traceback" not in said
    assert not re.search("error:.*error:", said.partition("\n")[0]), "said once"
    assert re.search(".*".join(words), said, re.DOTALL), said


@pytest.fixture
def moderate(server: Server) -> Run:
    return lambda *arguments: floodgate("moderate", "--target", server.target, *arguments)


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A copy of the model repository, to be spoilt."""
    return Path(shutil.copytree(ROOT / "model_repository", tmp_path / "models"))


@contextmanager
def taken_port() -> Iterator[int]:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        yield other.getsockname()[1]


# moderate


def test_moderate_prints_a_line_an_item_with_what_speaks_for_it(moderate: Run) -> None:
    insult = "You are a stupid idiot and everybody hates you."
    done = moderate(EXAMPLES / "astronaut.jpg", EXAMPLES / "truncated.jpg", "--text", insult)
    assert done.returncode == 0, done.stderr
    head, photo, broken, *rest = done.stdout.splitlines()
    assert head.split() == ["item", "action", "why", "ms"]
    assert re.match(r"astronaut.jpg +ALLOW +sexual.explicit 0.0\d+ +\d+$", photo)
    assert re.match(r"truncated.jpg +ALLOW, held +rule unreadable/hold", broken)
    assert "truncated: its data ends before its last row" in rest[0]
    assert "queue unreadable_media, unpublished until then" in rest[1]
    assert re.match(r'"You are a stupid.*LIMIT +harassment.toxicity 1.0000 ≥ 0.9: rule harassment', rest[2])


def test_moderate_prints_json_lines_that_programs_can_read(moderate: Run) -> None:
    done = moderate(EXAMPLES / "cat.jpg", "--text", "hello", "--json")
    assert done.returncode == 0, done.stderr
    first, second = map(json.loads, done.stdout.splitlines())
    assert (first["item"], second["item"]) == ("cat.jpg", '"hello"')
    assert first["decision"]["action"] == "ACTION_ALLOW"
    assert [score["label"] for score in first["decision"]["scores"]] == ["sexual.explicit"]


def test_moderate_takes_a_file_for_what_it_is_whatever_its_name(moderate: Run, tmp_path: Path) -> None:
    (tmp_path / "really-a-png.jpg").write_bytes(PNG)
    (tmp_path / "empty.png").write_bytes(b"")
    done = moderate(tmp_path / "really-a-png.jpg", tmp_path / "empty.png", "--json")
    named, empty = (json.loads(line)["decision"]["parts"][0] for line in done.stdout.splitlines())
    assert named["state"] == "STATE_JUDGED"
    assert (empty["state"], empty["reason"]) == ("STATE_UNREADABLE", "the data is empty")


def test_moderate_together_makes_one_item_of_everything(moderate: Run) -> None:
    done = moderate(EXAMPLES / "cat.jpg", "--text", "what a cat", "--together", "--json")
    (answer,) = map(json.loads, done.stdout.splitlines())
    assert {score["part_id"] for score in answer["decision"]["scores"]} == {"0", "1"}


def test_moderate_tells_a_wrong_word_from_the_right_ones_and_exits_1(moderate: Run) -> None:
    assert_fails(moderate("--text", "hello", "--surface", "billboard"), "INVALID_ARGUMENT", "'billboard'", "photo")
    assert_fails(moderate("--text", "hello", "--policy-revision", "none"), "NOT_FOUND", "'none' is not loaded")
    assert_fails(moderate("--text", "hello", "--lane", "FAST"), "'FAST' is not one of STANDARD, LIVE, BULK")
    assert_fails(moderate("--text", "hello", "--market", "de"), "INVALID_ARGUMENT", "'DE'")


def test_moderate_shows_markup_and_control_characters_as_nothing_special(moderate: Run) -> None:
    done = moderate("--text", "[/red] [bold]x\x1b[31m\a", "--text", "a", "--surface", "[/nowhere]")
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "[/red] [bold]x" in done.stdout
    assert "\x1b" not in done.stdout
    assert "\a" not in done.stdout
    assert "'[/nowhere]'" in done.stdout


def test_moderate_says_that_nobody_answers_and_how_to_change_that() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))  # bound and not listening: refused for certain
        target = f"127.0.0.1:{unused.getsockname()[1]}"
        done = floodgate("moderate", "--target", target, "--text", "hello")
    assert_fails(done, f"no Floodgate server can be reached at {target}")
    assert_fails(done, f"error: {target}", "floodgate serve")


def test_moderate_names_a_file_that_is_not_there(moderate: Run, tmp_path: Path) -> None:
    assert_fails(moderate(tmp_path / "none.jpg"), "none.jpg: cannot be read: No such file")
    assert_fails(moderate(tmp_path), "cannot be read: Is a directory")
    assert_fails(moderate(), "nothing to judge")


# policy check


def test_policy_check_says_what_the_default_policy_holds() -> None:
    done = floodgate("policy", "check")
    assert done.returncode == 0
    assert "policy community-guidelines revision" in done.stdout
    assert "sexual.explicit/age-gate at 0.45" in done.stdout


def spoilt_policy(tmp_path: Path, old: str, new: str) -> Path:
    text = (ROOT / "policies/default.yaml").read_text()
    assert old in text
    path = tmp_path / "policy.yaml"
    path.write_text(text.replace(old, new, 1))
    return path


def test_policy_check_points_at_line_and_column_with_a_hint(tmp_path: Path) -> None:
    path = spoilt_policy(tmp_path, "  sexual.explicit:\n", "  sexual.explict:\n")
    line = path.read_text().split("  sexual.explict:\n")[0].count("\n") + 1
    where = re.escape(f"{path}:{line}:3: error: ")
    assert_fails(floodgate("policy", "check", path), where, "'sexual.explict'", "hint: did you mean 'sexual.explicit'")


def test_policy_check_names_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    assert_fails(floodgate("policy", "check", tmp_path / "none.yaml"), "none.yaml", "cannot be read")


# doctor


def test_doctor_finds_this_machine_fit_to_serve() -> None:
    done = floodgate("doctor")
    assert done.returncode == 0, done.stdout
    for topic in ("cpu", "cores", "shared memory", "codecs", "triton", "head nsfw", "head toxicity", "policy", "gpu"):
        assert re.search(rf"^(ok|note) +{topic} ", done.stdout, re.MULTILINE), topic
    assert not re.search(r"^bad ", done.stdout, re.MULTILINE)


def test_doctor_says_which_weights_are_missing_and_what_fetches_them(repository: Path) -> None:
    (repository / "nsfw/1/model.onnx").unlink()
    done = floodgate("doctor", model_repository=repository)
    assert_fails(done, "bad +head nsfw", "model.onnx is missing", "floodgate models pull nsfw")


def test_doctor_says_when_a_heads_configuration_is_broken(repository: Path) -> None:
    with (repository / "nsfw/config.pbtxt").open("a") as config:
        config.write("max_batch_size: [")
    assert_fails(floodgate("doctor", model_repository=repository), "bad ", "nsfw/config.pbtxt")


def test_doctor_looks_at_the_configuration_it_is_given(tmp_path: Path) -> None:
    config = tmp_path / "floodgate.yaml"
    config.write_text("heads: [nsfw, nothing]\n")
    assert_fails(floodgate("doctor", "--config", config), "bad +head nothing")
    config.write_text("headz: [nsfw]\n")
    assert_fails(floodgate("doctor", "--config", config), f"{config}:1:1: error", "headz", "did you mean 'heads'")


# models


def test_models_list_says_what_each_head_is_for_and_whether_it_is_here() -> None:
    done = floodgate("models", "list")
    assert done.returncode == 0
    assert re.search(r"^nsfw +yes +ok +BSD-2-Clause +How likely", done.stdout, re.MULTILINE)
    assert re.search(r"^nudity +no +\w+ +AGPL-3.0 +Which body parts", done.stdout, re.MULTILINE)


def test_models_verify_exits_1_only_for_heads_that_are_served(repository: Path) -> None:
    (repository / "nudity/1/model.onnx").unlink(missing_ok=True)
    done = floodgate("models", "verify", model_repository=repository)
    assert done.returncode == 0
    assert "nsfw: ok" in done.stdout
    assert "nudity: missing" in done.stdout
    assert_fails(floodgate("models", "verify", "nudity", model_repository=repository), "nudity: missing")
    (repository / "toxicity/1/model.npz").write_bytes(b"not these")
    assert_fails(floodgate("models", "verify", model_repository=repository), "toxicity: different", "SHA-256")


def test_models_pull_names_the_heads_there_are() -> None:
    assert_fails(floodgate("models", "pull", "nothing"), "no head 'nothing'", "nsfw, nudity, toxicity")


# serve


def refused(*arguments: object, **settings: object) -> subprocess.CompletedProcess[str]:
    settings.setdefault("address", "127.0.0.1:0")
    settings.setdefault("metrics_address", "127.0.0.1:0")
    return floodgate("serve", *arguments, **settings)


def test_serve_refuses_a_wrong_policy_and_says_where(tmp_path: Path) -> None:
    path = spoilt_policy(tmp_path, "at: 0.45", "at: 4.5")
    assert_fails(refused("--policy", path, decision_log=tmp_path / "log"), re.escape(str(path)) + r":\d+:\d+: error")


def test_serve_refuses_a_wrong_configuration_and_says_where(tmp_path: Path) -> None:
    path = tmp_path / "floodgate.yaml"
    for text, words in (
        ("limits:\n  partz: 3\n", ":2:3: error: limits.partz.*did you mean 'parts'"),
        ("limits:\n  parts: many\n", ":2:3: error: limits.parts.*integer"),
        ("limits: {parts: 3\n", ":2:1: error: not valid YAML"),
        ("- address\n", ":1:1: error: a configuration is a mapping"),
        ("callers: {other: {}}\n", 'the caller "default" is missing'),
    ):
        path.write_text(text)
        assert_fails(refused("--config", path), re.escape(str(path)), words)
    assert_fails(refused("--config", tmp_path / "none.yaml"), "none.yaml: cannot be read")


def test_serve_refuses_a_wrong_variable_and_names_the_right_one() -> None:
    assert_fails(refused(parts=3), "FLOODGATE_PARTS: no such setting", "FLOODGATE_LIMITS__PARTS")
    assert_fails(refused(precision="f64"), "FLOODGATE_PRECISION", "'auto', 'f32' or 'bf16'")


def test_serve_refuses_a_wrong_model_repository_and_says_which_file(repository: Path, tmp_path: Path) -> None:
    def spoilt(words: str, **settings: object) -> None:
        done = refused(model_repository=repository, decision_log=tmp_path / "log", **settings)
        assert_fails(done, re.escape(str(repository)), words)

    spoilt("no such head.*nsfw, nudity, toxicity", heads="nsfw,nothing")
    weights = repository / "nsfw/1/model.onnx"
    sound = weights.read_bytes()
    weights.write_bytes(sound[:100_000])
    spoilt("nsfw/1/model.onnx is not what the lock names.*models pull nsfw")
    weights.unlink()
    spoilt("nsfw/1.*pull")
    weights.write_bytes(sound)
    config = repository / "nsfw/config.pbtxt"
    text = config.read_text()
    config.write_text(text.replace("bilinear", "bilinearr"))
    spoilt("nsfw/config.pbtxt.*view.filter must be one of.*'bilinearr'")
    config.write_text(text)
    lock = repository / "models.lock"
    lock.write_text("x = [")
    spoilt("models.lock: is not TOML")
    assert_fails(refused(model_repository=tmp_path / "none"), "none: there is no model repository here")


def test_serve_refuses_a_head_that_triton_cannot_load_and_names_it(repository: Path, tmp_path: Path) -> None:
    with (repository / "toxicity/1/model.py").open("a") as model:
        model.write("\ndef (\n")
    done = refused(model_repository=repository, decision_log=tmp_path / "log")
    assert_fails(done, "Triton cannot load toxicity", "SyntaxError", "model.py, line")


def test_serve_refuses_a_port_that_is_taken(tmp_path: Path) -> None:
    with taken_port() as port:
        done = refused(address=f"127.0.0.1:{port}", decision_log=tmp_path / "log")
        assert_fails(done, f"cannot listen on 127.0.0.1:{port}")
        done = refused(metrics_address=f"127.0.0.1:{port}", decision_log=tmp_path / "log")
        assert_fails(done, f"cannot serve metrics on 127.0.0.1:{port}")


def test_serve_refuses_a_folder_of_examples_that_is_not_there(tmp_path: Path) -> None:
    done = refused("--examples", tmp_path / "none", "--once")
    assert_fails(done, "none: cannot be read")
    assert "starting" not in done.stdout


def test_serve_once_judges_the_examples_and_exits_well(tmp_path: Path) -> None:
    done = refused("--examples", EXAMPLES, "--once", decision_log=tmp_path / "log")
    assert done.returncode == 0, done.stderr
    for name in ("astronaut.jpg", "coffee.webp", "portrait.png", '"What a lovely cat'):
        assert name in done.stdout
    assert "stopped" in done.stdout
    assert len((tmp_path / "log").read_text().splitlines()) >= 8


@pytest.mark.parametrize("command", [[], ["serve"], ["moderate"], ["doctor"], ["policy", "check"], ["models", "pull"]])
def test_every_command_explains_itself(command: list[str]) -> None:
    done = floodgate(*command, "--help")
    assert done.returncode == 0
    assert "Usage: floodgate" in done.stdout
