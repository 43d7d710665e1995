"""The images' description: what it copies exists, what it runs exists, what it sets is a setting."""

from __future__ import annotations

import fnmatch
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from described import DEPLOY, configured, parsed
from dockerfile_parse import DockerfileParser

from bench.report import ROOT
from floodgate.types import BUILT_FILES, RECORD_SUFFIX

FILE = DEPLOY / "Dockerfile"
TARGETS = ("cpu", "gpu")


def stages() -> dict[str, list[tuple[str, str]]]:
    """(instruction, value) by stage."""
    found: dict[str, list[tuple[str, str]]] = {}
    stage = ""
    for each in DockerfileParser(path=str(FILE), cache_content=True).structure:
        if each["instruction"] == "FROM":
            stage = each["value"].rpartition(" AS ")[2]
            found[stage] = []
        if stage and each["instruction"] != "COMMENT":
            found[stage].append((each["instruction"], each["value"]))
    return found


def values(stage: str, instruction: str) -> list[str]:
    return [value for name, value in stages()[stage] if name == instruction]


def environment(stage: str) -> dict[str, str]:
    return dict(pair.split("=", 1) for value in values(stage, "ENV") for pair in value.split())


def test_the_linter_has_nothing_to_say() -> None:
    linter = Path(sys.executable).with_name("hadolint")
    done = subprocess.run([linter, FILE], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_everything_copied_exists_and_is_not_ignored() -> None:
    rules = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and not line.startswith("#")]
    allowed = [rule[1:] for rule in rules if rule.startswith("!")]
    for stage in stages():
        for value in values(stage, "COPY"):
            if value.startswith("--from="):
                assert value.split()[0].partition("=")[2] in stages()
                continue
            for source in value.split()[:-1]:
                assert (ROOT / source).exists(), source
                path = source.rstrip("/")
                assert any(path == rule or path.startswith(f"{rule}/") for rule in allowed), f"{source} is ignored"


def test_what_is_generated_or_pulled_stays_out_of_the_context() -> None:
    """Weights and generated sources of the builder's own tree would otherwise hide that the image cannot make them."""
    rules = (ROOT / ".dockerignore").read_text().splitlines()
    built = [f"model_repository/nsfw/1/{name}{end}" for name in BUILT_FILES for end in ("", RECORD_SUFFIX)]
    pulled = ["model_repository/nsfw/1/model.onnx", "model_repository/toxicity/1/model.npz"]
    for path in (*pulled, *built, "python/floodgate/v1"):
        assert any(fnmatch.fnmatch(path, rule) for rule in rules if not rule.startswith("!")), path


def test_every_script_exists_can_be_run_and_is_sound_bash() -> None:
    described = FILE.read_text() + (DEPLOY / "docker" / "build_environment").read_text()
    named = set(re.findall(r"(?:deploy/docker|dirname \"\$0\"\))/(\w+)", described))
    assert named == {path.name for path in (DEPLOY / "docker").iterdir()}
    for name in named:
        script = DEPLOY / "docker" / name
        assert script.stat().st_mode & 0o111 == 0o111, name
        assert subprocess.run(["bash", "-n", script], check=False).returncode == 0


def test_the_build_takes_the_packages_above_the_tests() -> None:
    script = (DEPLOY / "docker" / "install_build_packages").read_text()
    (mark,) = re.findall(r"/\^(# .+?)/,\$d", script)
    lines = (ROOT / "scripts" / "system_packages.txt").read_text().splitlines()
    kept = lines[: next(number for number, line in enumerate(lines) if line.startswith(mark))]
    assert {"build-essential", "libheif-dev", "libseccomp-dev", "python3-venv"} <= set(kept)
    assert not {"clang", "npm", "libgtest-dev"} & set(kept)


@pytest.mark.parametrize("target", TARGETS)
def test_an_image_is_run_by_nobody_in_particular_and_checks_its_health(target: str) -> None:
    assert values(target, "USER") == ["10001:10001"]
    (health,) = values(target, "HEALTHCHECK")
    assert json.loads(health.partition("CMD ")[2])[0] == "floodgate"
    parsed(json.loads(health.partition("CMD ")[2])[1:])
    (entry,), (command,) = values(target, "ENTRYPOINT"), values(target, "CMD")
    assert json.loads(entry) == ["tini", "--", "floodgate"]
    parsed(json.loads(command))


@pytest.mark.parametrize("target", TARGETS)
def test_an_image_sets_settings_that_exist_and_listens_where_it_says(target: str) -> None:
    config = configured(environment(target))
    ports = {config.address.rpartition(":")[2], config.metrics_address.rpartition(":")[2]}
    assert ports <= set(" ".join(values(target, "EXPOSE")).split())
    volumes = json.loads(values(target, "VOLUME")[0])
    assert str(config.state_dir / "run") in volumes
    assert str(config.decision_log.parent) in volumes
    assert bool(config.triton.address) == (target == "gpu")


@pytest.mark.parametrize("target", TARGETS)
def test_build_and_run_agree_on_where_things_are(target: str) -> None:
    build, run = environment(f"{target}-build"), environment(target)
    assert build.items() <= run.items()
    copied = [value.split()[-1] for value in values("sources", "COPY")]
    assert "--from=sources /opt/floodgate/ /opt/floodgate/" in values(f"{target}-build", "COPY")
    config = configured(run)
    for folder in (config.model_repository, config.policy.parent, config.taxonomy.parent):
        assert f"{folder}/" in copied


@pytest.mark.parametrize("base", ["CPU_BASE", "GPU_BASE", "CUDA_BASE"])
def test_bases_are_pinned(base: str) -> None:
    (value,) = re.findall(rf"^ARG {base}=(\S+)$", FILE.read_text(), re.MULTILINE)
    assert re.fullmatch(r"[\w./-]+:\d+\.\d+[\w.-]*(@sha256:[0-9a-f]{64})?", value), f"{value} moves"
    assert value in (DEPLOY / "README.md").read_text()


def test_both_targets_are_built_and_set_up_alike() -> None:
    """They differ in where Triton comes from, in what only a GPU needs, and in nothing else."""

    def plain(target: str, stage: str) -> list[tuple[str, str]]:
        return [
            (name, value.replace(target, "T"))
            for name, value in stages()[stage]
            if name not in ("FROM", "ENV", "EXPOSE", "ARG") and "toolkit" not in value and "build_env" not in value
        ]

    assert plain("cpu", "cpu-build") == plain("gpu", "gpu-build")
    assert plain("cpu", "cpu") == plain("gpu", "gpu")


def test_the_core_of_the_gpu_image_is_built_for_gpus_and_decodes_and_builds_there() -> None:
    """With a toolkit of the CUDA that its Triton has, of which nothing stays in the image."""
    (build,) = (value for value in values("gpu-build", "RUN") if "build_environment" in value)
    assert "BUILD_CUDA=ON" in build
    assert "${GPU_PACKAGES}" in build
    assert values("gpu-build", "ARG") == ["GPU_PACKAGES"]
    (packages,) = re.findall(r'^ARG GPU_PACKAGES="(.+)"$', FILE.read_text(), re.MULTILINE)
    assert re.fullmatch(r"nvidia-nvjpeg-cu12 tensorrt-cu12==[\d.]+", packages)
    (version,) = re.findall(r"^ARG CUDA_BASE=\S+:(12\.\d+)\.", FILE.read_text(), re.MULTILINE)
    assert f"--from=toolkit /usr/local/cuda-{version}/ /opt/cuda/" in values("gpu-build", "COPY")
    assert not any("toolkit" in value for value in values("gpu", "COPY"))


def test_an_option_that_there_is_not_would_be_noticed() -> None:
    for arguments in (["serve", "--polite"], ["triton", "dance"], ["health", "--wait=soon"]):
        with pytest.raises(Exception, match=r"No such|valid"):
            parsed(arguments)
