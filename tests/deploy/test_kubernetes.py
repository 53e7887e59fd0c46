"""The manifests as Kustomize renders them: valid, confined, consistent, with a configuration that notifier takes."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import sqlalchemy as sa
import yaml

from notifier import config
from notifier.cli.program import COMMANDS
from notifier.config.environment import variable_names
from notifier.domain.errors import ConfigurationError
from notifier.encryption import generate_key
from tests import store_rows
from tests.deploy.manifests import Manifest, faults, manifests, pod_labels, pod_of, render

if TYPE_CHECKING:
    from tests.services import Database

FOLDER = Path(__file__).parents[2] / "deploy" / "kubernetes"
RENDERED = ("base", "overlays/development", "overlays/production")
PODS = ("Deployment", "Job", "CronJob")
LEAVE = 10  # s, for what follows the drain
SECRETS = {
    "NOTIFIER_DATABASE__URL": "postgresql://notifier_worker:pw@postgres.example/notifier",
    "NOTIFIER_RABBITMQ__URL": "amqps://notifier:pw@rabbitmq.example:5671/%2F",
    "NOTIFIER_SECURITY__ENCRYPTION_KEYS": generate_key(),
}


@pytest.fixture(params=RENDERED)
def rendered(request: pytest.FixtureRequest, kubectl: str) -> str:
    return render(kubectl, FOLDER / request.param)


@pytest.fixture
def production(kubectl: str) -> str:
    return render(kubectl, FOLDER / "overlays/production")


def workloads(text: str) -> list[Manifest]:
    return [one for kind in PODS for one in manifests(text, kind)]


def unconfined(pod: Manifest) -> list[str]:
    """Return what a pod may do that it should not, and what it lacks."""
    (container,) = pod["containers"]
    wanted = {
        "runAsNonRoot": (pod["securityContext"].get("runAsNonRoot"), True),
        "runAsUser": (pod["securityContext"].get("runAsUser"), 10001),
        "seccomp": (pod["securityContext"].get("seccompProfile"), {"type": "RuntimeDefault"}),
        "token": (pod.get("automountServiceAccountToken"), False),
        "links": (pod.get("enableServiceLinks"), False),
        "escalation": (container["securityContext"].get("allowPrivilegeEscalation"), False),
        "root": (container["securityContext"].get("readOnlyRootFilesystem"), True),
        "capabilities": (container["securityContext"].get("capabilities"), {"drop": ["ALL"]}),
        "requests": (sorted(container["resources"]["requests"]), ["cpu", "memory"]),
        "limits": (sorted(container["resources"]["limits"]), ["memory"]),
    }
    return [name for name, (found, right) in wanted.items() if found != right]


def unprobed(deployment: Manifest) -> list[str]:
    """Return the probes that a Deployment lacks, or that ask for the wrong page."""
    (container,) = pod_of(deployment)["containers"]
    pages = {"startupProbe": "/livez", "livenessProbe": "/livez", "readinessProbe": "/readyz"}
    return [
        probe
        for probe, page in pages.items()
        if container.get(probe, {}).get("httpGet", {}) != {"path": page, "port": "http"}
    ]


def test_every_document_is_valid_in_the_oldest_and_the_newest_release(rendered: str) -> None:
    assert faults(rendered) == []


@pytest.mark.parametrize(
    ("right", "wrong", "named"),
    [
        ("readinessProbe:", "readynessProbe:", "Deployment"),
        ("minReplicaCount:", "minReplicas:", "ScaledObject"),
        ("targetQueryValue: ", "targetQueryvalue: ", "ScaledObject"),
        ('value: "1000"', "value: 1000", "ScaledObject"),
        ("mode: QueueLength", "mode: Queuelength", "ScaledObject"),
        ("scrapeTimeout:", "timeout:", "ServiceMonitor"),
        ("secretTargetRef:", "secretRef:", "TriggerAuthentication"),
        ("startingDeadlineSeconds:", "startingDeadline:", "CronJob"),
        ("maxUnavailable: 1", "maxUnavailble: 1", "PodDisruptionBudget"),
        ("policyTypes:", "policyType:", "NetworkPolicy"),
        ("kind: ServiceMonitor", "kind: ServicesMonitor", "ServicesMonitor"),
        ("backoffLimit: 10", "backoffLimit: ten", "Job"),
        ("clusterIP:", "clusterIp:", "Service"),
    ],
)
def test_a_seeded_fault_is_noticed(production: str, right: str, wrong: str, named: str) -> None:
    assert right in production
    found = faults(production.replace(right, wrong))
    assert found
    assert all(one.startswith(named) for one in found)


def test_every_pod_is_confined_and_limited(rendered: str) -> None:
    assert {one["kind"] for one in workloads(rendered)} == set(PODS)
    assert {one["metadata"]["name"]: unconfined(pod_of(one)) for one in workloads(rendered)} == {
        "notifier-worker": [],
        "notifier-api": [],
        "notifier-init-db": [],
        "notifier-maintain": [],
    }


def test_a_pod_without_its_confinement_or_a_probe_is_noticed(production: str) -> None:
    worker = next(one for one in workloads(production) if one["metadata"]["name"] == "notifier-worker")
    (container,) = pod_of(worker)["containers"]
    container["securityContext"]["readOnlyRootFilesystem"] = False
    del container["startupProbe"]
    assert unconfined(pod_of(worker)) == ["root"]
    assert unprobed(worker) == ["startupProbe"]


def test_every_deployment_is_probed_and_has_time_to_drain(rendered: str) -> None:
    for deployment in manifests(rendered, "Deployment"):
        assert unprobed(deployment) == []
        pod = pod_of(deployment)
        assert pod["terminationGracePeriodSeconds"] == 60
        assert config.Settings().delivery.drain_timeout + LEAVE < 60
        assert pod["containers"][0]["args"][0] in COMMANDS


def test_no_image_is_the_latest_one_and_no_secret_is_committed(kubectl: str) -> None:
    for overlay in RENDERED[1:]:
        text = render(kubectl, FOLDER / overlay)
        images = [pod_of(one)["containers"][0]["image"] for one in workloads(text)]
        assert all(re.fullmatch(r".+:(?!latest$)[\w.-]+", image) for image in images), images
        assert manifests(text, "Secret") == []
    for file in FOLDER.rglob("*"):
        if file.is_file():
            assert "kind: Secret\n" not in file.read_text("utf-8"), file


def test_labels_find_what_they_are_meant_for(production: str) -> None:
    pods = [pod_labels(one) for one in workloads(production)]
    selectors = {
        f"{one['kind']} {one['metadata']['name']}": one["spec"]["selector"].get(
            "matchLabels", one["spec"]["selector"]
        )
        for kind in ("Service", "PodDisruptionBudget", "Deployment")
        for one in manifests(production, kind)
    } | {
        f"NetworkPolicy {one['metadata']['name']}": one["spec"]["podSelector"]["matchLabels"]
        for one in manifests(production, "NetworkPolicy")
    }
    matched = {name: sum(labels.items() <= pod.items() for pod in pods) for name, labels in selectors.items()}
    assert matched.pop("NetworkPolicy notifier-default") == len(pods)
    assert matched == dict.fromkeys(matched, 1)
    assert len(matched) == 8

    (monitor,) = manifests(production, "ServiceMonitor")
    wanted = monitor["spec"]["selector"]["matchLabels"]
    services = [
        one for one in manifests(production, "Service") if wanted.items() <= one["metadata"]["labels"].items()
    ]
    assert [one["metadata"]["name"] for one in services] == ["notifier-worker"]
    assert services[0]["spec"]["ports"][0]["name"] == monitor["spec"]["endpoints"][0]["port"]


def documented_secrets() -> dict[str, list[str]]:
    """The Secrets that README.md tells to make, with their keys."""
    page = (FOLDER / "README.md").read_text("utf-8").replace("\\\n", " ")
    return {
        name: re.findall(r"--from-file=([\w-]+)=", line)
        for name, line in re.findall(r"create secret generic (\S+)(.*)", page)
    }


def test_every_secret_is_documented_and_is_all_that_its_pods_need(rendered: str) -> None:
    documented = documented_secrets()
    for one in workloads(rendered):
        volume = next(each for each in pod_of(one)["volumes"] if each["name"] == "secrets")["secret"]
        assert volume["defaultMode"] == 0o440, "the loader refuses what everybody can read"
        assert [key for key in documented[volume["secretName"]] if key not in variable_names()] == []
    for trigger in manifests(rendered, "TriggerAuthentication"):
        for wanted in trigger["spec"]["secretTargetRef"]:
            assert wanted["key"] in documented[wanted["name"]]


def test_notifier_takes_the_configuration_of_every_pod(rendered: str, tmp_path: Path) -> None:
    """The real loader reads the ConfigMap, the container's environment and the Secret's files."""
    (configmap,) = manifests(rendered, "ConfigMap")
    file = tmp_path / "config.toml"
    file.write_text(configmap["data"]["config.toml"], "utf-8")
    ports = {}
    for one in workloads(rendered):
        pod = pod_of(one)
        (container,) = pod["containers"]
        environ = {entry["name"]: entry["value"] for entry in container["env"]}
        mounts = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
        assert environ["NOTIFIER_CONFIG"] == f"{mounts['config']}/config.toml"
        assert environ["CREDENTIALS_DIRECTORY"] == mounts["secrets"]
        assert {each["name"]: each for each in pod["volumes"]}["config"]["configMap"] == {
            "name": configmap["metadata"]["name"]
        }
        secret = next(each for each in pod["volumes"] if each["name"] == "secrets")["secret"]["secretName"]
        folder = tmp_path / f"{one['metadata']['name']}-secrets"
        folder.mkdir()
        for key in documented_secrets()[secret]:
            (folder / key).touch(mode=0o600)
            (folder / key).write_text(SECRETS[key], "utf-8")
        settings = config.load(file, environ | {"CREDENTIALS_DIRECTORY": str(folder)})
        assert settings.database.url.get_secret_value().partition("@")[2] == "postgres.example/notifier"
        for entry in container.get("ports", []):
            ports[one["metadata"]["name"]] = entry["containerPort"]
    assert (settings.health.host, settings.api.host) == ("0.0.0.0", "0.0.0.0")  # noqa: S104 - in a pod
    assert ports == {"notifier-worker": settings.health.port, "notifier-api": settings.api.port}


def test_an_unknown_key_in_the_configuration_is_noticed(production: str, tmp_path: Path) -> None:
    (configmap,) = manifests(production, "ConfigMap")
    file = tmp_path / "config.toml"
    file.write_text(configmap["data"]["config.toml"].replace("base_url", "base_uri"), "utf-8")
    with pytest.raises(ConfigurationError, match="base_uri"):
        config.load(file, {})


def scaled(text: str) -> Manifest:
    (found,) = manifests(text, "ScaledObject")
    return found


def test_keda_owns_the_number_of_workers_and_watches_the_right_queue(production: str) -> None:
    target = scaled(production)["spec"]["scaleTargetRef"]["name"]
    (worker,) = [one for one in manifests(production, "Deployment") if one["metadata"]["name"] == target]
    assert "replicas" not in worker["spec"], "else every apply would undo what KEDA set"
    triggers = {one["type"]: one for one in scaled(production)["spec"]["triggers"]}
    assert triggers["rabbitmq"]["metadata"]["queueName"] == config.Settings().rabbitmq.queue
    authentications = {one["metadata"]["name"] for one in manifests(production, "TriggerAuthentication")}
    assert {one["authenticationRef"]["name"] for one in triggers.values()} == authentications


@pytest.mark.services
def test_the_scalers_query_counts_the_mails_that_could_go_now(production: str, database: Database) -> None:
    """Not those that wait for their time, that a worker has in hand, or whose mail server is down."""
    triggers = {one["type"]: one["metadata"] for one in scaled(production)["spec"]["triggers"]}
    query = triggers["postgresql"]["query"]
    engine = sa.create_engine(database.url.replace("://", "+psycopg2://"), poolclass=sa.NullPool)
    with engine.begin() as connection:
        customer = store_rows.add_customer(connection)
        event = store_rows.add_event(connection, customer)
        for wait in ("0", "0", "1 hour"):
            mail = store_rows.add_mail(connection, customer, event)
            change = "UPDATE notification_events SET next_attempt_at = now() + %(wait)s::interval WHERE id = %(mail)s"
            connection.exec_driver_sql(change, {"wait": wait, "mail": mail})
        store_rows.add_mail(connection, customer, event, status="sent")
        store_rows.wake(connection, customer)
        assert store_rows.one(connection, query) == 2
        connection.exec_driver_sql("UPDATE smtp_breakers SET open_until = now() + interval '1 hour'")
        assert store_rows.one(connection, query) == 0

    reader = (FOLDER.parents[1] / "roles.sql").read_text("utf-8").partition("-- People with questions")[2]
    granted = reader.partition("TO notifier_reader")[0]
    assert all(table in granted for table in re.findall(r"(?:FROM|JOIN) (\w+)", query))


def test_the_yaml_files_hold_no_duplicate_and_no_stray_file() -> None:
    """Every file of a folder is named by its kustomization: a forgotten one would be applied by nobody."""
    for kustomization in FOLDER.rglob("kustomization.yaml"):
        tree = yaml.safe_load(kustomization.read_text("utf-8"))
        named = {*tree.get("resources", []), "kustomization.yaml"}
        for generator in tree.get("configMapGenerator", []):
            named |= set(generator["files"])
        files = {path.name for path in kustomization.parent.iterdir() if path.is_file()}
        assert files <= named, kustomization
