"""Record golden inputs from the engine in reach: python tests/facts/record.py FOLDER CONTAINER...

Only what is listed here is kept: nothing of an environment but its PATH, no command line, label value or host name.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path

from debugrun.engine.engine import connect

Keep = Mapping[str, object]  # key -> what to keep below it; None: the value as it is

VERSION: Keep = {
    "Components": {"Name": None, "Version": None},
    "Version": None,
    "ApiVersion": None,
    "Arch": None,
    "KernelVersion": None,
}
INFO: Keep = {
    "Architecture": None,
    "CgroupVersion": None,
    "DefaultRuntime": None,
    "KernelVersion": None,
    "OSType": None,
    "OperatingSystem": None,
    "Rootless": None,
    "Runtimes": None,
    "SecurityOptions": None,
    "ServerVersion": None,
}
CONTAINER: Keep = {
    "AppArmorProfile": None,
    "Config": {"Env": None, "Image": None, "Labels": None, "User": None},
    "HostConfig": {
        "CapAdd": None,
        "CapDrop": None,
        "CgroupnsMode": None,
        "Memory": None,
        "NetworkMode": None,
        "PidMode": None,
        "Privileged": None,
        "ReadonlyRootfs": None,
        "Runtime": None,
        "SecurityOpt": None,
        "UsernsMode": None,
    },
    "Id": None,
    "Image": None,
    "ImageManifestDescriptor": {"platform": None},
    "Name": None,
    "Platform": None,
    "ProcessLabel": None,
    "State": {"Paused": None, "Pid": None, "Restarting": None, "Running": None, "Status": None},
}
IMAGE: Keep = {"Architecture": None, "Config": {"Labels": None}, "Os": None, "Variant": None}


def kept(value: object, keep: object) -> object:
    """The part of `value` that `keep` lists."""
    if isinstance(value, list) and keep is not None:
        return [kept(item, keep) for item in value]
    if isinstance(value, Mapping) and isinstance(keep, Mapping):
        return {key: kept(value[key], below) for key, below in keep.items() if key in value}
    return value


def filtered(container: Mapping[str, object]) -> dict[str, object]:
    """A container without secrets: of Env the PATH, of Labels the names."""
    found = kept(container, CONTAINER)
    assert isinstance(found, dict)
    config = found["Config"]
    config["Env"] = [entry for entry in config.get("Env") or [] if entry.startswith("PATH=")]
    config["Labels"] = dict.fromkeys(sorted(config.get("Labels") or {}), "x")
    return found


def described(info: Mapping[str, object]) -> dict[str, object]:
    """An engine: of its runtimes the names."""
    found = kept(info, INFO)
    assert isinstance(found, dict)
    found["Runtimes"] = {name: {} for name in sorted(found.get("Runtimes") or {})}
    return found


def main(folder: Path, names: list[str]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    with connect() as engine:
        answers: dict[str, object] = {
            "version": kept(engine.version(), VERSION),
            "info": described(engine.info()),
        }
        for name in names:
            container = engine.inspect_container(name)
            answers[name] = filtered(container)
            answers["image"] = kept(engine.inspect_image(str(container["Image"])), IMAGE)
    for name, answer in answers.items():
        (folder / f"{name}.json").write_text(json.dumps(answer, indent=1, sort_keys=True) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
