"""deploy/kubernetes: the schemas of each Kubernetes with gRPC probes, and a server's answers."""

from __future__ import annotations

import copy
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import kubernetes_validate
import pytest
import yaml
from emoji_model import MODEL, failing_model
from server_process import ROOT, SERVER, ServerProcess

FOLDER = ROOT / "deploy" / "kubernetes"
VERSIONS = [f"1.{minor}" for minor in range(27, 38)]


def documents(name: str) -> dict[str, Any]:
    """By kind."""
    return {each["kind"]: each for each in yaml.safe_load_all((FOLDER / name).read_text("utf-8"))}


PLAIN = documents("tightfit.yaml")
POD = PLAIN["Deployment"]["spec"]["template"]
CONTAINER = POD["spec"]["containers"][0]
RUNTIME = documents("kserve/serving_runtime.yaml")["ServingRuntime"]
SERVICE = documents("kserve/inference_service.yaml")["InferenceService"]
KSERVE_CONTAINER = RUNTIME["spec"]["containers"][0]
DOCKERFILE = (ROOT / "Dockerfile").read_text("utf-8")


@pytest.mark.parametrize("version", VERSIONS)
def test_every_manifest_keeps_to_the_schema(version: str) -> None:
    assert len(PLAIN) == 5
    for document in PLAIN.values():
        kubernetes_validate.validate(document, version, strict=True)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("readinessProbe", "grpc", "port"), "grpc"),
        (("resources", "limits", "memory"), ["12Gi"]),
        (("securityContext", "readOnlyRootFileSystem"), True),
        (("ports",), {"name": "grpc"}),
    ],
    ids=lambda value: str(value),
)
def test_a_wrong_field_would_be_noticed(path: tuple[str, ...], value: Any) -> None:
    wrong = copy.deepcopy(PLAIN["Deployment"])
    place = wrong["spec"]["template"]["spec"]["containers"][0]
    for name in path[:-1]:
        place = place[name]
    place[path[-1]] = value
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(wrong, VERSIONS[-1], strict=True)


def test_names_that_must_agree_agree() -> None:
    labels = POD["metadata"]["labels"]
    for selector in (
        PLAIN["Deployment"]["spec"]["selector"]["matchLabels"],
        PLAIN["Service"]["spec"]["selector"],
        PLAIN["NetworkPolicy"]["spec"]["podSelector"]["matchLabels"],
    ):
        assert selector == labels
    ports = {port["name"]: port["containerPort"] for port in CONTAINER["ports"]}
    assert re.search(rf"^EXPOSE {ports['grpc']} {ports['metrics']}$", DOCKERFILE, re.MULTILINE)
    for port in PLAIN["Service"]["spec"]["ports"]:
        assert ports[port["targetPort"]] == port["port"]
    rules = PLAIN["NetworkPolicy"]["spec"]["ingress"]
    assert {port["port"] for rule in rules for port in rule["ports"]} == set(ports.values())
    volumes = {volume["name"]: volume for volume in POD["spec"]["volumes"]}
    mounts = {mount["name"]: mount["mountPath"] for mount in CONTAINER["volumeMounts"]}
    assert mounts.keys() == volumes.keys()
    claim = PLAIN["PersistentVolumeClaim"]["metadata"]["name"]
    assert volumes["models"]["persistentVolumeClaim"]["claimName"] == claim
    assert volumes["config"]["configMap"]["name"] == PLAIN["ConfigMap"]["metadata"]["name"]
    # The entry point reads its configuration where the ConfigMap is mounted.
    (key,) = PLAIN["ConfigMap"]["data"]
    assert f'"--config", "{mounts["config"]}/{key}"' in DOCKERFILE
    assert SERVICE["spec"]["predictor"]["model"]["storageUri"].startswith(f"pvc://{claim}/")
    assert CONTAINER["image"] == KSERVE_CONTAINER["image"]


def test_pods_keep_to_the_restricted_pod_security_standard() -> None:
    (uid,) = re.findall(r"^USER (\d+):\1$", DOCKERFILE, re.MULTILINE)
    for container, pod in ((CONTAINER, POD["spec"]["securityContext"]), (KSERVE_CONTAINER, {})):
        context = {**pod, **container["securityContext"]}
        assert context["runAsNonRoot"] and context["runAsUser"] == int(uid)
        assert context["seccompProfile"] == {"type": "RuntimeDefault"}
        assert context["capabilities"] == {"drop": ["ALL"]}
        assert context["readOnlyRootFilesystem"] and not context["allowPrivilegeEscalation"]
        assert not {"hostNetwork", "hostPID", "hostIPC"} & set(POD["spec"])
        assert set(container["resources"]["requests"]) == {"cpu", "memory"}
        assert "memory" in container["resources"]["limits"]


def test_a_pod_has_longer_than_the_server_takes_to_drain() -> None:
    toml = PLAIN["ConfigMap"]["data"]["tightfit.toml"]
    (drain,) = re.findall(r"^drain_timeout_seconds = (\d+)$", toml, re.MULTILINE)
    assert POD["spec"]["terminationGracePeriodSeconds"] >= int(drain) + 10
    (drain,) = re.findall(r"--drain-timeout-seconds=(\d+)", " ".join(KSERVE_CONTAINER["args"]))
    assert 30 >= int(drain) + 10


def test_the_configuration_is_one_that_the_server_takes(tmp_path: Path) -> None:
    toml = PLAIN["ConfigMap"]["data"]["tightfit.toml"]
    assert toml.count('"/models/my-model"') == 1
    file = tmp_path / "tightfit.toml"
    file.write_text(toml.replace("/models/my-model", str(MODEL)), "utf-8")
    # KServe fills in the service's name.
    arguments = [
        text.replace("{{.Name}}", SERVICE["metadata"]["name"]).replace("/mnt/models", str(MODEL))
        for text in KSERVE_CONTAINER["args"]
    ]
    image = ROOT / "deploy" / "container" / "tightfit.toml"
    for command in (["--config", file], ["--config", image, *arguments]):
        done = subprocess.run([SERVER, *command, "--check"], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
    # It listens in plain text because it is told so, here and by no default.
    file.write_text(file.read_text("utf-8").replace("allow_plaintext = true", ""), "utf-8")
    done = subprocess.run([SERVER, "--config", file, "--check"], capture_output=True, text=True)
    assert done.returncode == 78 and "--allow-plaintext" in done.stderr, done.stderr


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    folder = tmp_path_factory.mktemp("server")
    models = [f"emoji-xl={MODEL},format=hf8", failing_model(folder / "broken")]
    with ServerProcess(folder, models) as running:
        yield running


def health(address: str, service: str) -> str:
    """As a kubelet asks; the messages are of one field each, so no stubs are needed."""
    name = service.encode()
    request = b"\x0a" + bytes([len(name)]) + name if name else b""
    options = [("grpc.enable_http_proxy", 0)]
    with grpc.insecure_channel(address, options=options) as channel:
        check = channel.unary_unary("/grpc.health.v1.Health/Check")
        try:
            reply = check(request, timeout=10)
        except grpc.RpcError as error:
            return str(error.code().name)  # type: ignore[attr-defined]
    return {b"\x08\x01": "SERVING", b"\x08\x02": "NOT_SERVING"}[reply]


def test_every_probe_is_answered_by_a_real_server(server: ServerProcess) -> None:
    probes = {
        name: container[name]["grpc"].get("service", "")
        for container in (KSERVE_CONTAINER, CONTAINER)
        for name in ("startupProbe", "livenessProbe", "readinessProbe")
        if name in container
    }
    assert len(probes) == 3
    found = {name: health(server.address, service) for name, service in probes.items()}
    assert found == dict.fromkeys(probes, "SERVING")
    # Controls: a service that is not there, and a model that is not ready, do not pass.
    assert health(server.address, "tightfit.v1.NoService") == "NOT_FOUND"
    assert health(server.address, "model/broken") == "NOT_SERVING"


# Of KServe's own schema: the fields of a ServingRuntime's spec beside those of containers.
RUNTIME_FIELDS = {
    "supportedModelFormats": list,
    "multiModel": bool,
    "disabled": bool,
    "protocolVersions": list,
    "containers": list,
    "volumes": list,
    "nodeSelector": dict,
    "affinity": dict,
    "tolerations": list,
    "labels": dict,
    "annotations": dict,
    "imagePullSecrets": list,
    "hostIPC": bool,
    "replicas": int,
}
FORMAT_FIELDS = {"name": str, "version": str, "autoSelect": bool, "priority": int}
MODEL_FIELDS = {"runtime": str, "modelFormat": dict, "storageUri": str, "protocolVersion": str}


def check_fields(value: dict[str, Any], fields: dict[str, type]) -> None:
    assert set(value) <= set(fields), set(value) - set(fields)
    assert all(type(each) is fields[name] for name, each in value.items()), value


def test_the_pod_that_takes_a_model_in_fits_the_volume_and_the_namespace() -> None:
    pod = documents("copy_model.yaml")["Pod"]
    for version in VERSIONS:
        kubernetes_validate.validate(pod, version, strict=True)
    (volume,) = pod["spec"]["volumes"]
    claim = PLAIN["PersistentVolumeClaim"]["metadata"]["name"]
    assert volume["persistentVolumeClaim"]["claimName"] == claim
    (container,) = pod["spec"]["containers"]
    (mount,) = container["volumeMounts"]
    assert mount["mountPath"] == "/models" and not mount.get("readOnly", False)
    # What the server reads belongs to the server, under the same restrictions.
    assert pod["spec"]["securityContext"] == POD["spec"]["securityContext"]
    assert container["securityContext"] == CONTAINER["securityContext"]
    commands = (FOLDER / "README.md").read_text("utf-8")
    toml = PLAIN["ConfigMap"]["data"]["tightfit.toml"]
    assert f"{pod['metadata']['name']}:/models/my-model" in commands and "/models/my-model" in toml


def test_the_serving_runtime_is_one_that_kserve_takes() -> None:
    assert RUNTIME["apiVersion"] == "serving.kserve.io/v1alpha1"
    spec = RUNTIME["spec"]
    check_fields(spec, RUNTIME_FIELDS)
    (model_format,) = spec["supportedModelFormats"]
    check_fields(model_format, FORMAT_FIELDS)
    assert KSERVE_CONTAINER["name"] == "kserve-container"  # the name that KServe looks for
    assert all(type(text) is str for text in spec["annotations"].values())
    pod = {"containers": spec["containers"], "volumes": spec.get("volumes", [])}
    whole = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "x"}, "spec": pod}
    for version in (VERSIONS[0], VERSIONS[-1]):
        kubernetes_validate.validate(whole, version, strict=True)


def test_the_inference_service_asks_for_that_runtime() -> None:
    assert SERVICE["apiVersion"] == "serving.kserve.io/v1beta1"
    assert SERVICE["metadata"]["annotations"] == {"serving.kserve.io/deploymentMode": "Standard"}
    model = SERVICE["spec"]["predictor"]["model"]
    check_fields(model, MODEL_FIELDS)
    assert model["runtime"] == RUNTIME["metadata"]["name"]
    (offered,) = RUNTIME["spec"]["supportedModelFormats"]
    assert {name: offered[name] for name in ("name", "version")} == model["modelFormat"]
    manifest = yaml.safe_load((MODEL / "model.json").read_text("utf-8"))
    assert model["modelFormat"]["version"] == str(manifest["schema_version"])
