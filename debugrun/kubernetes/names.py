"""What the kubeconfig names: for a shell that completes, which asks no cluster."""

from __future__ import annotations


def configured(key: str) -> list[str]:
    """The contexts (`name`), or their namespaces (`namespace`), sorted; [] without the extra or a kubeconfig."""
    try:
        from kubernetes.config import ConfigException, list_kube_config_contexts  # noqa: PLC0415 - with the extra only
    except ImportError:
        return []
    try:
        contexts, _ = list_kube_config_contexts()
    except (ConfigException, OSError, ValueError, TypeError):
        return []
    named = (each.get("name") if key == "name" else (each.get("context") or {}).get(key) for each in contexts)
    return sorted({str(each) for each in named if each})
