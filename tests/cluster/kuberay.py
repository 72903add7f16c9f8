"""What of KubeRay's resources fairsweep's files may use, field by field, after the API reference of ray.io/v1; unknown fields fail.

Sources: KubeRay docs/reference/api.md and its generated reference in Ray's documentation (v1.6, `authOptions` included); the Kubernetes API
reference for pods and network policies.
"""

# The fields are named as KubeRay names them.
# ruff: noqa: N815

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class Metadata(Strict):
    name: str = Field(default="", pattern=r"^[a-z0-9]?([-a-z0-9]*[a-z0-9])?$", max_length=63)
    labels: dict[str, str] = {}


class SecretRef(Strict):
    name: str


class EnvFrom(Strict):
    secretRef: SecretRef


class Port(Strict):
    containerPort: int
    name: str = Field(max_length=15)


class Resources(Strict):
    requests: dict[str, str]
    limits: dict[str, str]


class Mount(Strict):
    name: str
    mountPath: str
    readOnly: bool = False


class Container(Strict):
    name: str
    image: str
    envFrom: list[EnvFrom]
    ports: list[Port] = []
    resources: Resources
    volumeMounts: list[Mount] = []


class Volume(Strict):
    name: str
    persistentVolumeClaim: dict[Literal["claimName"], str] | None = None
    configMap: dict[Literal["name"], str] | None = None
    emptyDir: dict[Literal["medium", "sizeLimit"], str] | None = None


class PodSpec(Strict):
    terminationGracePeriodSeconds: int
    containers: list[Container] = Field(min_length=1)
    volumes: list[Volume] = []


class PodTemplate(Strict):
    metadata: Metadata = Metadata()
    spec: PodSpec


class AuthOptions(Strict):
    mode: Literal["token"]


class HeadGroup(Strict):
    serviceType: Literal["ClusterIP"]
    enableIngress: Literal[False]
    rayStartParams: dict[str, str]
    template: PodTemplate


class WorkerGroup(Strict):
    groupName: str
    replicas: int
    minReplicas: int
    maxReplicas: int
    rayStartParams: dict[str, str]
    template: PodTemplate


class RayClusterSpec(Strict):
    rayVersion: str
    authOptions: AuthOptions
    headGroupSpec: HeadGroup
    workerGroupSpecs: list[WorkerGroup] = Field(min_length=1)


class RayJobSpec(Strict):
    entrypoint: str
    runtimeEnvYAML: str
    backoffLimit: int
    shutdownAfterJobFinishes: bool
    ttlSecondsAfterFinished: int
    rayClusterSpec: RayClusterSpec


class RayCluster(Strict):
    apiVersion: Literal["ray.io/v1"]
    kind: Literal["RayCluster"]
    metadata: Metadata
    spec: RayClusterSpec


class RayJob(Strict):
    apiVersion: Literal["ray.io/v1"]
    kind: Literal["RayJob"]
    metadata: Metadata
    spec: RayJobSpec


class Peer(Strict):
    podSelector: dict[Literal["matchLabels"], dict[str, str]]
    namespaceSelector: dict[str, Any] | None = None


class IngressPort(Strict):
    protocol: Literal["TCP"]
    port: int


class Ingress(Strict):
    # `from` is a keyword of Python.
    peers: list[Peer] = Field(alias="from", min_length=1)
    ports: list[IngressPort] = []


class PolicySpec(Strict):
    podSelector: dict[Literal["matchLabels"], dict[str, str]]
    policyTypes: list[Literal["Ingress"]]
    ingress: list[Ingress]


class NetworkPolicy(Strict):
    apiVersion: Literal["networking.k8s.io/v1"]
    kind: Literal["NetworkPolicy"]
    metadata: Metadata
    spec: PolicySpec
