"""The tool in its place: a sidecar or an exec, its streams, its end."""
