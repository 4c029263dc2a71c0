"""Pods instead of containers of an engine: what the API server and a kubelet say, and tools in ephemeral containers."""
