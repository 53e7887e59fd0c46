"""Kustomizations as data: rendered by kubectl, judged by the schemas of Kubernetes and of the custom resources."""

from __future__ import annotations

import subprocess
from functools import cache
from typing import TYPE_CHECKING, Any

import jsonschema
import kubernetes_validate
import yaml

if TYPE_CHECKING:
    from pathlib import Path

Manifest = dict[str, Any]

OLDEST = "1.29"  # the features used are older; the newest release is judged as well


def _object(required: tuple[str, ...] = (), **properties: object) -> dict[str, object]:
    return {
        "type": "object",
        "properties": properties,
        "required": list(required),
        "additionalProperties": False,
    }


_TEXT = {"type": "string", "minLength": 1}
_COUNT = {"type": "integer", "minimum": 0}
_SECONDS = {"type": "string", "pattern": r"^\d+s$"}
_LABELS = {"type": "object", "additionalProperties": _TEXT, "minProperties": 1}
_METADATA = _object(("name",), name=_TEXT, namespace=_TEXT, labels=_LABELS)


def _resource(api: str, kind: str, spec: dict[str, object]) -> dict[str, object]:
    return _object(
        ("apiVersion", "kind", "metadata", "spec"),
        apiVersion={"const": api},
        kind={"const": kind},
        metadata=_METADATA,
        spec=spec,
    )


def _trigger(kind: str, *required: str, **metadata: object) -> dict[str, object]:
    return _object(
        ("type", "metadata", "authenticationRef"),
        type={"const": kind},
        authenticationRef=_object(("name",), name=_TEXT, kind=_TEXT),
        metadata=_object(required, **metadata),
    )


_NUMBER = {"type": "string", "pattern": r"^\d+$"}  # KEDA takes texts alone
# The fields that the operators' own definitions have, as far as they are of use here.
CUSTOM: dict[str, dict[str, object]] = {
    "ServiceMonitor": _resource(
        "monitoring.coreos.com/v1",
        "ServiceMonitor",
        _object(
            ("selector", "endpoints"),
            selector=_object(("matchLabels",), matchLabels=_LABELS),
            endpoints={
                "type": "array",
                "minItems": 1,
                "items": _object(
                    ("port", "path"), port=_TEXT, path=_TEXT, interval=_SECONDS, scrapeTimeout=_SECONDS
                ),
            },
        ),
    ),
    "TriggerAuthentication": _resource(
        "keda.sh/v1alpha1",
        "TriggerAuthentication",
        _object(
            ("secretTargetRef",),
            secretTargetRef={
                "type": "array",
                "minItems": 1,
                "items": _object(
                    ("parameter", "name", "key"),
                    parameter={"enum": ["connection", "host"]},
                    name=_TEXT,
                    key=_TEXT,
                ),
            },
        ),
    ),
    "ScaledObject": _resource(
        "keda.sh/v1alpha1",
        "ScaledObject",
        _object(
            ("scaleTargetRef", "minReplicaCount", "maxReplicaCount", "triggers"),
            scaleTargetRef=_object(("name",), name=_TEXT),
            minReplicaCount=_COUNT,
            maxReplicaCount=_COUNT,
            pollingInterval=_COUNT,
            cooldownPeriod=_COUNT,
            fallback=_object(("failureThreshold", "replicas"), failureThreshold=_COUNT, replicas=_COUNT),
            triggers={
                "type": "array",
                "minItems": 1,
                "items": {
                    "oneOf": [
                        _trigger(
                            "postgresql",
                            *("query", "targetQueryValue"),
                            query=_TEXT,
                            targetQueryValue=_NUMBER,
                            activationTargetQueryValue=_NUMBER,
                        ),
                        _trigger(
                            "rabbitmq",
                            *("protocol", "queueName", "mode", "value"),
                            protocol={"const": "amqp"},
                            queueName=_TEXT,
                            mode={"const": "QueueLength"},
                            value=_NUMBER,
                        ),
                    ]
                },
            },
        ),
    ),
}


@cache
def render(kubectl: str, folder: Path) -> str:
    """Return the YAML of a kustomization; kubectl must have nothing to say about it."""
    done = subprocess.run([kubectl, "kustomize", str(folder)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    return done.stdout


def manifests(text: str, kind: str | None = None) -> list[Manifest]:
    """Return the documents, of one kind if given."""
    return [one for one in yaml.safe_load_all(text) if kind is None or one["kind"] == kind]


def faults(text: str) -> list[str]:
    """Return what is wrong with the documents; a kind that no schema knows is a fault, too."""
    found = []
    for one in manifests(text):
        name = f"{one['kind']} {one['metadata']['name']}"
        try:
            if one["kind"] in CUSTOM:
                jsonschema.validate(one, CUSTOM[one["kind"]])
            else:
                for release in (OLDEST, kubernetes_validate.latest_version()):
                    kubernetes_validate.validate(one, release, strict=True)
        except jsonschema.ValidationError as fault:
            found.append(f"{name}: {fault.json_path}: {fault.message}")
        except kubernetes_validate.SchemaNotFoundError as fault:
            found.append(f"{name}: {fault.message}")
    return found


def pod_of(manifest: Manifest) -> Manifest:
    """Return the pod's spec of whatever makes pods."""
    spec: Manifest = manifest["spec"]
    if manifest["kind"] == "CronJob":
        spec = spec["jobTemplate"]["spec"]
    pod: Manifest = spec["template"]["spec"]
    return pod


def pod_labels(manifest: Manifest) -> dict[str, str]:
    """Return the labels that its pods have."""
    spec = manifest["spec"]["jobTemplate"]["spec"] if manifest["kind"] == "CronJob" else manifest["spec"]
    labels: dict[str, str] = spec["template"]["metadata"]["labels"]
    return labels
