"""What was written to a container, and what only looks so."""

from __future__ import annotations

import pytest

from debugrun.observe.layer import ADDED, MODIFIED, unexplained

DELETED = 2
INSPECTED = {
    "Mounts": [{"Type": "volume", "Destination": "/srv/data"}, {"Type": "bind", "Destination": "/etc/app.conf"}],
    "HostConfig": {"Tmpfs": {"/run/": ""}},
}


@pytest.mark.parametrize(
    ("changes", "paths"),
    [
        ({}, ()),
        ({"/srv": ADDED, "/srv/data": ADDED}, ()),
        ({"/etc": MODIFIED, "/etc/app.conf": ADDED, "/run": ADDED}, ()),
        ({"/srv": MODIFIED}, ("/srv",)),
        ({"/srv": ADDED, "/srv/data": ADDED, "/srv/data2": ADDED}, ("/srv/data2",)),
        ({"/etc": MODIFIED, "/etc/app.conf": ADDED, "/etc/passwd": MODIFIED}, ("/etc/passwd",)),
        ({"/etc": MODIFIED, "/etc/hosts.allow": DELETED}, ("/etc/hosts.allow",)),
        ({"/srv/data": DELETED}, ("/srv/data",)),
        ({"/a": MODIFIED, "/a/b": ADDED, "/a/b/c": ADDED, "/ab": ADDED}, ("/a/b/c", "/ab")),
    ],
)
def test_mount_points_are_the_runtimes(changes: dict[str, int], paths: tuple[str, ...]) -> None:
    assert unexplained([{"Path": path, "Kind": kind} for path, kind in changes.items()], INSPECTED) == paths
