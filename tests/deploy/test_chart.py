"""The Helm chart, rendered by Helm's own engine, held to Kubernetes's schemas and to what the server needs."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import helm_python
import kubernetes_validate
import pytest
from described import DEPLOY, configured, parsed
from ruamel.yaml import YAML
from test_image import environment

from bench.report import ROOT

CHART = DEPLOY / "helm" / "floodgate"
READ = YAML(typ="safe")
POLICIES = {name: (ROOT / "policies" / name).read_text() for name in ("default.yaml", "taxonomy.yaml")}
EVERYTHING = {"serviceMonitor": True, "rules": True, "dashboard": True, "labels": {"release": "prometheus"}}
CASES: dict[str, dict[str, Any]] = {
    "defaults": {},
    "sidecar": {
        "triton": {"mode": "sidecar", "allowClientShm": True},
        "config": {"triton": {"platform": "tensorrt"}},
        "modelRepository": {"volume": {"persistentVolumeClaim": {"claimName": "heads"}}},
        "nodeSelector": {"nvidia.com/gpu.present": "true"},
        "tolerations": [{"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}],
    },
    "apart": {
        "triton": {"mode": "apart", "extraArguments": ["--log-verbose=1"]},
        "config": {"triton": {"platforms": {"nsfw": "tensorrt"}}},
        "modelRepository": {"volume": {"hostPath": {"path": "/srv/heads"}}},
    },
    "external": {"triton": {"mode": "external", "address": "triton.models.svc:8001"}},
    "everything": {
        "image": {"repository": "registry.example/floodgate", "digest": "sha256:" + "0" * 64},
        "imagePullSecrets": [{"name": "pull"}],
        "autoscaling": {"enabled": True},
        "monitoring": EVERYTHING,
        "policies": POLICIES,
        "config": {"heads": ["nsfw", "toxicity"], "limits": {"parts": 16}, "triton": {"liveness_s": 60}},
        "decisionLog": {"volume": {"emptyDir": None, "persistentVolumeClaim": {"claimName": "decisions"}}},
        "service": {"type": "LoadBalancer", "headless": False},
        "podDisruptionBudget": {"maxUnavailable": None, "minAvailable": "50%"},
        "networkPolicy": {"clients": [{"namespaceSelector": {"matchLabels": {"team": "upload"}}}]},
        "podAnnotations": {"a": "b"},
        "podLabels": {"c": "d"},
        "priorityClassName": "high",
        "topologySpreadConstraints": [
            {"maxSkew": 1, "topologyKey": "kubernetes.io/hostname", "whenUnsatisfiable": "ScheduleAnyway"}
        ],
        "endpointRemovalSeconds": 0,
        "drainSeconds": 120,
    },
}
# The oldest that the chart admits, and the newest whose schemas are here.
VERSIONS = ("1.29", kubernetes_validate.latest_version())


def rendered(values: dict[str, Any]) -> list[dict[str, Any]]:
    """Every object, in the order of the files."""
    with helm_python.Chart.load(CHART) as chart:
        chart.validate_schema(values)
        files = chart.render(values, name="demo", namespace="prod")
    texts = (text for name, text in sorted(files.items()) if name.endswith(".yaml"))
    return [each for text in texts for each in READ.load_all(text) if each]


def one(objects: list[dict[str, Any]], kind: str, name: str = "demo-floodgate") -> dict[str, Any]:
    (found,) = [each for each in objects if each["kind"] == kind and each["metadata"]["name"] == name]
    return found


def containers(pod: dict[str, Any]) -> list[dict[str, Any]]:
    return [*pod.get("initContainers", ()), *pod["containers"]]


def pods(objects: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [each["spec"]["template"]["spec"] for each in objects if each["kind"] == "Deployment"]


def test_helm_has_nothing_to_say() -> None:
    result = helm_python.lint(CHART)
    assert not result["errors"]
    assert not [each for each in result["messages"] if "icon" not in str(each)]


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("version", VERSIONS)
def test_every_object_is_what_kubernetes_expects(case: str, version: str) -> None:
    operators = {"ServiceMonitor", "PrometheusRule"}
    for each in rendered(CASES[case]):
        if each["kind"] not in operators:
            kubernetes_validate.validate(each, version, strict=True)


@pytest.mark.parametrize("case", CASES)
def test_nothing_runs_as_root_or_writes_to_its_image(case: str) -> None:
    for pod in pods(rendered(CASES[case])):
        assert pod["securityContext"]["runAsNonRoot"]
        assert pod["securityContext"]["runAsUser"] == 10001
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert not pod["automountServiceAccountToken"]
        for container in containers(pod):
            context = container["securityContext"]
            assert context["readOnlyRootFilesystem"]
            assert not context["allowPrivilegeEscalation"]
            assert context["capabilities"] == {"drop": ["ALL"]}


@pytest.mark.parametrize("case", CASES)
def test_what_is_written_to_is_mounted(case: str) -> None:
    image = configured(environment("cpu"))
    for pod in pods(rendered(CASES[case])):
        volumes = {each["name"] for each in pod["volumes"]}
        for container in containers(pod):
            mounts = {each["mountPath"]: each["name"] for each in container["volumeMounts"]}
            assert set(mounts.values()) <= volumes
            assert {str(image.state_dir / "run"), "/dev/shm", "/tmp"} <= set(mounts)
            assert (str(image.decision_log.parent) in mounts) == (container["name"] == "floodgate")


@pytest.mark.parametrize("case", CASES)
def test_the_server_understands_its_settings_and_command(case: str, tmp_path: Path) -> None:
    objects = rendered(CASES[case])
    file = tmp_path / "config.yaml"
    file.write_text(one(objects, "ConfigMap", "demo-floodgate-settings")["data"]["config.yaml"])
    for pod in pods(objects):
        for container in containers(pod):
            parsed(container["args"])
            own = {each["name"]: each["value"] for each in container.get("env", ())}
            config = configured({**environment("cpu"), **own}, file)
            ports = {each["name"]: str(each["containerPort"]) for each in container["ports"]}
            if container["name"] == "floodgate":
                assert config.address.endswith(":" + ports["grpc"])
                assert config.metrics_address.endswith(":" + ports["metrics"])


@pytest.mark.parametrize("case", CASES)
def test_a_pod_has_time_to_drain(case: str) -> None:
    pod = one(rendered(CASES[case]), "Deployment")["spec"]["template"]["spec"]
    (server,) = pod["containers"]
    drain_s = float(next(each["value"] for each in server["env"] if each["name"] == "FLOODGATE_DRAIN_S"))
    before_s = int(server["lifecycle"]["preStop"]["exec"]["command"][1]) if "lifecycle" in server else 0
    health_s, streams_s, farewell_s, triton_s = 2, 5, 2, 13
    needed_s = before_s + health_s + drain_s + streams_s + farewell_s + triton_s
    assert pod["terminationGracePeriodSeconds"] >= needed_s


def test_both_halves_of_a_pod_share_memory_and_triton_outlives_floodgate() -> None:
    pod = one(rendered(CASES["sidecar"]), "Deployment")["spec"]["template"]["spec"]
    (triton,), (server,) = pod["initContainers"], pod["containers"]
    assert triton["restartPolicy"] == "Always"
    for container in (triton, server):
        assert {"name": "shared-memory", "mountPath": "/dev/shm"} in container["volumeMounts"]
    assert {each["name"]: each["value"] for each in server["env"]}["FLOODGATE_TRITON__MEMORY"] == "shm"
    options = parsed(triton["args"])
    assert options["address"] == {each["name"]: each["value"] for each in server["env"]}["FLOODGATE_TRITON__ADDRESS"]
    assert options["allow_client_shm"]
    assert triton["resources"]["limits"]["nvidia.com/gpu"] == 1
    for probe in ("startupProbe", "livenessProbe"):
        assert parsed(triton[probe]["exec"]["command"][1:])["service"] == ""


@pytest.mark.parametrize("case", CASES)
def test_floodgate_and_triton_read_the_same_settings_and_heads(case: str) -> None:
    """Their heads would else be of different platforms, and a batch meet other models than it was made for."""
    everyone = [each for pod in pods(rendered(CASES[case])) for each in containers(pod)]
    seen = set()
    for container in everyone:
        mounts = {each["mountPath"]: each for each in container["volumeMounts"]}
        assert "--config=/etc/floodgate/config.yaml" in container["args"]
        assert mounts["/etc/floodgate/config.yaml"]["name"] == "settings"
        heads = mounts.get(str(configured(environment("cpu")).model_repository), {})
        assert heads.get("readOnly", True)
        seen.add(heads.get("name"))
    assert seen == {"model-repository" if CASES[case].get("modelRepository") else None}


def test_apart_the_address_is_the_services_and_only_the_server_may_call_it() -> None:
    objects = rendered(CASES["apart"])
    service = one(objects, "Service", "demo-floodgate-triton")
    (server,) = one(objects, "Deployment")["spec"]["template"]["spec"]["containers"]
    address = {each["name"]: each["value"] for each in server["env"]}["FLOODGATE_TRITON__ADDRESS"]
    assert address == f"{service['metadata']['name']}:{service['spec']['ports'][0]['port']}"
    (triton,) = one(objects, "Deployment", "demo-floodgate-triton")["spec"]["template"]["spec"]["containers"]
    assert parsed(triton["args"])["extra"] == ["--log-verbose=1"]
    (rule,) = one(objects, "NetworkPolicy", "demo-floodgate-triton")["spec"]["ingress"]
    assert rule["from"][0]["podSelector"]["matchLabels"]["app.kubernetes.io/component"] == "server"


@pytest.mark.parametrize("case", CASES)
def test_selectors_find_their_pods(case: str) -> None:
    objects = rendered(CASES[case])
    labelled = [each["spec"]["template"]["metadata"]["labels"] for each in objects if each["kind"] == "Deployment"]
    for each in objects:
        selector = each.get("spec", {}).get("selector", {})
        wanted = selector.get("matchLabels", selector)
        if each["kind"] in ("Service", "PodDisruptionBudget", "Deployment"):
            assert [labels for labels in labelled if wanted.items() <= labels.items()], each["metadata"]["name"]


def test_a_changed_setting_or_policy_makes_new_pods() -> None:
    def stamp(values: dict[str, Any]) -> str:
        template = one(rendered(values), "Deployment")["spec"]["template"]
        return str(template["metadata"]["annotations"]["checksum/settings"])

    stricter = {**POLICIES, "default.yaml": POLICIES["default.yaml"] + "# another\n"}
    stamps = [stamp({}), stamp({"config": {"precision": "f32"}}), stamp({"policies": POLICIES})]
    stamps.append(stamp({"policies": stricter}))
    assert len(set(stamps)) == 4


def test_policies_arrive_as_they_are() -> None:
    data = one(rendered({"policies": POLICIES}), "ConfigMap", "demo-floodgate-policies")["data"]
    assert {name: text.rstrip("\n") for name, text in data.items()} == {
        name: text.rstrip("\n") for name, text in POLICIES.items()
    }


def test_the_autoscaler_asks_for_what_is_recorded() -> None:
    objects = rendered(CASES["everything"])
    (metric,) = one(objects, "HorizontalPodAutoscaler")["spec"]["metrics"]
    (rule,) = READ.load(DEPLOY / "prometheus" / "adapter.yaml")["rules"]["custom"]
    assert metric["pods"]["metric"]["name"] == rule["name"]["as"]
    series = rule["seriesQuery"].partition("{")[0]
    groups = READ.load(DEPLOY / "prometheus" / "recording.yaml")["groups"]
    (record,) = [each for group in groups for each in group["rules"] if each["record"] == series]
    assert set(rule["resources"]["overrides"]) <= set(re.findall(r"\w+", record["expr"]))
    assert "replicas" not in one(objects, "Deployment")["spec"]


def test_the_operators_rules_are_the_tested_ones(tmp_path: Path) -> None:
    objects = rendered(CASES["everything"])
    groups = one(objects, "PrometheusRule")["spec"]["groups"]
    expected = [
        group
        for name in ("recording.yaml", "alerts.yaml")
        for group in READ.load(DEPLOY / "prometheus" / name)["groups"]
    ]
    assert groups == expected
    file = tmp_path / "rules.json"
    file.write_text(json.dumps({"groups": groups}))
    promtool = ROOT / "var" / "prometheus" / "bin" / "promtool"
    assert subprocess.run([promtool, "check", "rules", file], capture_output=True, check=False).returncode == 0
    dashboard = one(objects, "ConfigMap", "demo-floodgate-dashboard")["data"]["floodgate.json"]
    assert json.loads(dashboard) == json.loads((DEPLOY / "grafana" / "floodgate.json").read_text())
    monitor = one(objects, "ServiceMonitor")
    assert monitor["metadata"]["labels"]["release"] == "prometheus"
    ports = [each["name"] for each in one(objects, "Service")["spec"]["ports"]]
    assert monitor["spec"]["endpoints"][0]["port"] in ports


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"triton": {"mode": "besides"}}, "mode"),
        ({"triton": {"mode": "external"}}, "triton.address is needed"),
        ({"triton": {"mode": "sidecar", "address": "a:1"}}, "external only"),
        ({"replica": 3}, "replica"),
        ({"image": {"digest": "sha256:beef"}}, "digest"),
        ({"sharedMemory": "lots"}, "sharedMemory"),
        ({"policies": {"default.yaml": "policy: x"}}, "must both be there"),
        ({"config": {"address": "0.0.0.0:1"}}, "config.address is the pod's"),
        ({"config": {"triton": {"address": "a:1"}}}, "config.triton is the pod's"),
        ({"service": {"type": "NodePort"}}, "headless"),
        ({"drainSeconds": -1}, "drainSeconds"),
    ],
)
def test_wrong_values_are_refused_by_name(values: dict[str, Any], words: str) -> None:
    with pytest.raises(helm_python.HelmError, match=re.escape(words)):
        rendered(values)


def test_every_value_is_described_by_the_schema() -> None:
    schema = json.loads((CHART / "values.schema.json").read_text())
    values = READ.load(CHART / "values.yaml")
    assert set(values) == set(schema["properties"]) - {"global"}
    for name, section in values.items():
        known = schema["properties"][name].get("properties")
        if known is not None and isinstance(section, dict):
            assert set(section) <= set(known)
