"""The API server of a cluster, as few thin calls; every failure becomes a DebugrunError with the next command.

The official client's configuration, transport and websocket are used, its models are not: they take longer to load
than everything else takes. Paths and verbs: https://kubernetes.io/docs/reference/generated/kubernetes-api/.
"""

from __future__ import annotations

import json
import os
import urllib.parse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Self

from debugrun.core.know.printable import printable
from debugrun.errors import DebugrunError, EngineError, TargetError
from debugrun.kubernetes.channels import V4, V5, Channels

if TYPE_CHECKING:
    from kubernetes.client import ApiClient, Configuration

Json = Mapping[str, object]

TIMEOUT = (5.0, 60.0)  # seconds to connect, and for one answer
PATCH = "application/strategic-merge-patch+json"
IN_CLUSTER = Path("/var/run/secrets/kubernetes.io/serviceaccount")
UNAUTHORIZED, FORBIDDEN, NOT_FOUND, CONFLICT, UNPROCESSABLE = 401, 403, 404, 409, 422


class ApiError(EngineError):
    """The API server said no: `http` is its status, `reason` a word such as Forbidden, `text` its own message."""

    def __init__(self, http: int, reason: str, text: str, hint: str = "") -> None:
        super().__init__(f"kubernetes-{reason.lower() or http}", f"the API server refused: {text}", hint)
        self.http = http
        self.reason = reason
        self.text = text


class Cluster:
    """One cluster in reach, with the namespace that is meant there. Close it, or use it as a context manager."""

    def __init__(self, client: ApiClient, namespace: str, context: str) -> None:
        self._client = client
        self.namespace = namespace
        self.context = context

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def endpoint(self) -> str:
        """What is talked to, for messages."""
        return f"the API server {self._client.configuration.host}"

    def close(self) -> None:
        """Let go of all connections."""
        self._client.rest_client.close()

    def get(self, path: str, query: Sequence[tuple[str, str]] = ()) -> Json:
        """GET an object. Raises ApiError, EngineError."""
        return self._request("GET", path, query)

    def maybe(self, path: str) -> Json | None:
        """GET an object, or None where it is not there or not ours to see."""
        try:
            return self.get(path)
        except ApiError as error:
            if error.http in {FORBIDDEN, NOT_FOUND}:
                return None
            raise

    def post(self, path: str, body: Json) -> Json:
        """POST an object."""
        return self._request("POST", path, (), body)

    def patch(self, path: str, body: Json, *, dry_run: bool = False) -> Json:
        """PATCH by a strategic merge; `dry_run` asks all that has a say (admission, validation), and keeps nothing."""
        return self._request("PATCH", path, (("dryRun", "All"),) if dry_run else (), body, PATCH)

    def delete(self, path: str, *, grace: int | None = None) -> None:
        """DELETE an object; `grace` in seconds."""
        self._request("DELETE", path, () if grace is None else (("gracePeriodSeconds", str(grace)),))

    def _request(
        self,
        method: str,
        path: str,
        query: Sequence[tuple[str, str]] = (),
        body: Json | None = None,
        content_type: str = "application/json",
    ) -> Json:
        from kubernetes.client.exceptions import ApiException  # noqa: PLC0415 - with the extra only
        from urllib3.exceptions import HTTPError  # noqa: PLC0415 - as above

        headers = {"Accept": "application/json", "Content-Type": content_type}
        try:
            prepared = self._client.param_serialize(
                method, path, query_params=list(query), header_params=headers, body=body, auth_settings=["BearerToken"]
            )
            answer = self._client.call_api(*prepared, _request_timeout=TIMEOUT)
            data = answer.read()
        except (HTTPError, ApiException, OSError) as error:
            raise self._unreachable(error) from error
        return self._decoded(answer.status, data)

    def _decoded(self, status: int, data: bytes) -> Json:
        try:
            found = json.loads(data)
        except ValueError:
            found = None
        if not isinstance(found, dict):
            text = printable(data.decode(errors="replace")[:200])
            raise EngineError("kubernetes-no-api", f"{self.endpoint} does not answer as one: {status} {text}")
        if status >= 400:  # noqa: PLR2004 - RFC 9110, 15.5
            raise self._refused(status, found)
        return {key: clean(each) for key, each in found.items()}

    def _refused(self, status: int, told: Json) -> DebugrunError:
        text, reason = printable(str(told.get("message", ""))), printable(str(told.get("reason", "")))
        if status == UNAUTHORIZED:
            message = f"{self.endpoint} does not take the credentials of the context {self.context!r}"
            return EngineError(
                "kubernetes-credentials", message, f"log in again; kubectl --context {self.context} auth whoami"
            )
        return ApiError(status, reason, text)

    def _unreachable(self, error: Exception) -> EngineError:
        cause = getattr(error, "reason", None) or error
        hint = f"kubectl --context {self.context} cluster-info" if self.context else "kubectl cluster-info"
        return EngineError("kubernetes-unreachable", f"{self.endpoint} can't be reached: {cause}", hint)

    def stream(self, path: str, query: Sequence[tuple[str, str]], *, tty: bool) -> Channels:
        """GET an exec or attach as a websocket. Raises ApiError where it is refused, EngineError."""
        from websocket import WebSocket, WebSocketBadStatusException, WebSocketException  # noqa: PLC0415 - the extra

        configuration = self._client.configuration
        address = configuration.host.replace("http", "ws", 1) + path + "?" + urllib.parse.urlencode(query)
        headers = [f"Sec-WebSocket-Protocol: {V5},{V4}"]
        if token := configuration.get_api_key_with_prefix("BearerToken"):
            headers.append(f"Authorization: {token}")
        connection = WebSocket(sslopt=_tls(configuration), skip_utf8_validation=True, enable_multithread=True)
        try:
            connection.connect(
                address, header=headers, timeout=TIMEOUT[1], suppress_origin=True, **_proxy(configuration)
            )
        except WebSocketBadStatusException as error:
            told = self._told(error.resp_body)
            raise self._refused(error.status_code, told) from error
        except (WebSocketException, OSError) as error:
            raise self._unreachable(error) from error
        connection.settimeout(None)
        return Channels(connection, tty=tty)

    @staticmethod
    def _told(body: bytes | None) -> Json:
        try:
            found = json.loads(body or b"")
        except ValueError:
            found = None
        return found if isinstance(found, dict) else {"message": (body or b"").decode(errors="replace")}


def clean(value: object) -> object:
    """What the server sent with printable texts only: annotations, reasons and messages are anybody's."""
    if isinstance(value, str):
        return printable(value)
    if isinstance(value, list):
        return [clean(each) for each in value]
    return {key: clean(each) for key, each in value.items()} if isinstance(value, dict) else value


def _tls(configuration: Configuration) -> dict[str, object]:
    import ssl  # noqa: PLC0415 - loaded by the client already

    options: dict[str, object] = {"cert_reqs": ssl.CERT_REQUIRED if configuration.verify_ssl else ssl.CERT_NONE}
    if configuration.verify_ssl:
        options["ca_certs"] = configuration.ssl_ca_cert or ssl.get_default_verify_paths().cafile
    else:
        options["check_hostname"] = False
    named = {
        "certfile": configuration.cert_file,
        "keyfile": configuration.key_file,
        "server_hostname": configuration.tls_server_name,
    }
    return options | {key: value for key, value in named.items() if value}


def _proxy(configuration: Configuration) -> dict[str, object]:
    if not configuration.proxy:
        return {}
    proxy = urllib.parse.urlsplit(configuration.proxy)
    return {
        "http_proxy_host": proxy.hostname,
        "http_proxy_port": proxy.port,
        "http_no_proxy": [each for each in (configuration.no_proxy or "").split(",") if each],
    }


def connect(context: str | None = None, namespace: str | None = None) -> Cluster:
    """The cluster of a kubeconfig's context, or the one that we run in.

    Raises EngineError: the extra is not installed, no configuration, no such context, or one that acts as another user.
    """
    try:
        from kubernetes.client import ApiClient, Configuration  # noqa: PLC0415 - with the extra only
        from kubernetes.config import ConfigException  # noqa: PLC0415 - as above
    except ImportError as error:
        message = f"pods need the Kubernetes client, which is not installed ({error.name})"
        raise EngineError("no-kubernetes-client", message, "pip install 'debugrun[kubernetes]'") from error
    configuration = Configuration()
    try:
        found = _configure(configuration, context)
    except (ConfigException, OSError, ValueError, TypeError) as error:
        hint = "kubectl config get-contexts" if context else "set KUBECONFIG, or kubectl config use-context NAME"
        raise EngineError("kubernetes-config", f"no cluster is configured: {error}", hint) from error
    name, default = found
    return Cluster(ApiClient(configuration), namespace or default, name)


def _configure(configuration: Configuration, context: str | None) -> tuple[str, str]:
    """Fill `configuration` in; (the context's name, its namespace)."""
    from kubernetes.config import incluster_config, list_kube_config_contexts, load_kube_config  # noqa: PLC0415 - the extra

    paths = os.environ.get("KUBECONFIG") or str(Path.home() / ".kube/config")
    if not any(Path(path).expanduser().exists() for path in paths.split(os.pathsep) if path):
        if context is None and (IN_CLUSTER / "token").exists():
            incluster_config.load_incluster_config(client_configuration=configuration)
            return "", (IN_CLUSTER / "namespace").read_text().strip() or "default"
        raise OSError(f"there is no file {paths}")
    contexts, current = list_kube_config_contexts(paths)
    if context is not None:
        names = [str(each["name"]) for each in contexts]
        if context not in names:
            raise ValueError(f"no context {context!r}; there are: {', '.join(names)}")
        current = contexts[names.index(context)]
    _refuse_acting_as_another(paths, current["context"])
    load_kube_config(paths, str(current["name"]), configuration, persist_config=False)
    return str(current["name"]), str(current["context"].get("namespace") or "default")


def _refuse_acting_as_another(paths: str, settings: Mapping[str, object]) -> None:
    """The client drops `as`, and Impersonate-User in websockets: then a tool would run as someone else than asked."""
    from kubernetes.config.kube_config import KubeConfigMerger  # noqa: PLC0415 - with the extra only

    user = KubeConfigMerger(paths).config["users"].get_with_name(settings["user"])["user"]
    if any(key in user for key in ("as", "as-uid", "as-groups", "as-user-extra")):
        message = f"the kubeconfig's user {settings['user']!r} acts as another one (`as`), which exec and attach can't"
        hint = "name a context with credentials of its own: --kubernetes-context"
        raise EngineError("kubernetes-impersonation", message, hint)


def no_such(what: str, name: str, hint: str) -> TargetError:
    """Something of the cluster is not there."""
    return TargetError("no-such-pod", f"no {what} {name}", hint)
