"""A real Kubernetes of one node: etcd, kube-apiserver and kubelet out of Go modules, Debian's containerd and runc.

The API listens on loopback, on a free port, in the machine's own network namespace; everything else is in mount, PID,
IPC, UTS and cgroup namespaces of its own, so that the end of one process is the end of all. Needs root.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterable, Sequence
from pathlib import Path

import docker
import yaml

from tests.host.kubernetes import build
from tests.host.kubernetes.keys import Authority
from tests.host.state import HostError, folder

HERE = Path(__file__).parent
CGROUP = "debugrun-kubernetes"
CGROUPS = Path("/sys/fs/cgroup")
STARTS_WITHIN = 120.0  # seconds
NODE = "127.0.0.1"  # a name that is an address is taken as it is; --node-ip refuses a loopback one
NEEDED = ("containerd", "runc", "ctr", "unshare", "nsenter", "curl")
PORTS = ("etcd", "peer", "api", "kubelet")
# Who there is: file, user, groups.
USERS = (("admin", "admin", ("system:masters",)), ("node", f"system:node:{NODE}", ("system:nodes",)))


def home() -> Path:
    """The cluster's folder."""
    return folder() / "kubernetes" / "home"


def kubeconfig(name: str = "admin") -> Path:
    """The file that leads there as that user."""
    return home() / f"{name}.kubeconfig"


def running() -> bool:
    """Whether it is up."""
    pid = _leader()
    return pid is not None and kubeconfig().exists() and _ready()


def up() -> Path:
    """Have it running; the administrator's kubeconfig. Raises HostError: not here, and what would be needed."""
    if running():
        return kubeconfig()
    _require()
    program = build.hyperkube()
    down()
    ports = _prepare(program)
    _start(ports)
    deadline = time.monotonic() + STARTS_WITHIN
    while not _ready():
        if _leader() is None or time.monotonic() > deadline:
            raise HostError(f"the cluster did not start; try: less {home() / 'log'}/*")
        time.sleep(0.1)
    return kubeconfig()


def user(name: str, groups: Sequence[str] = ()) -> Path:
    """The kubeconfig of another user, with a certificate of its own."""
    Authority(home() / "pki").issue(name, name, groups)
    _kubeconfig(name, json.loads((home() / "ports.json").read_text())["api"])
    return kubeconfig(name)


def load(client: docker.APIClient, images: Iterable[str]) -> None:
    """Copy images of a container engine into the node's containerd, those that it has not got as they are."""
    known = home() / "images.json"
    loaded: dict[str, str] = json.loads(known.read_text()) if known.exists() else {}
    wanted = {name: str(client.inspect_image(name)["Id"]) for name in images}  # type: ignore[no-untyped-call]
    for name, number in wanted.items():
        if loaded.get(name) == number:
            continue
        archive = home() / "image.tar"
        with archive.open("wb") as out:
            for chunk in client.get_image(name):
                out.write(chunk)
        with archive.open("rb") as file:
            command = ["ctr", "--namespace", "k8s.io", "images", "import", "-"]
            subprocess.run([*_inside(), *command], stdin=file, stdout=subprocess.DEVNULL, check=True)
        archive.unlink()
        loaded[name] = number
        known.write_text(json.dumps(loaded))


def pid_of(container: str) -> int:
    """PID of a container's first process, as this machine counts."""
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            numbers = (entry / "status").read_text().partition("NSpid:")[2].partition("\n")[0].split()
            if numbers[-1:] == ["1"] and container in (entry / "cgroup").read_text():
                return int(entry.name)
    raise HostError(f"no process of container {container}")


def down() -> None:
    """End it with its containers, mounts, cgroups and data; the program stays."""
    pid = _leader()
    if pid is not None:
        first = _first(pid)
        with contextlib.suppress(ProcessLookupError):
            os.kill(first or pid, signal.SIGKILL)  # the end of PID 1 of the namespace is the end of all
        deadline = time.monotonic() + 30
        while _leader() is not None and time.monotonic() < deadline:
            time.sleep(0.05)
    for group in CGROUPS.glob(f"*/{_group()}"):
        for path in [*sorted(group.rglob("*/"), reverse=True), group]:
            with contextlib.suppress(OSError):
                path.rmdir()
    shutil.rmtree(home(), ignore_errors=True)


def _require() -> None:
    if os.geteuid() != 0:
        raise HostError("a test cluster needs namespaces of its own; try: as root")
    missing = [name for name in NEEDED if shutil.which(name, path=_path()) is None]
    if missing:
        raise HostError(f"{', '.join(missing)} is missing; try: apt-get install docker.io curl util-linux")


def _path() -> str:
    return f"{home() / 'bin'}:/usr/sbin:/usr/bin:/sbin:/bin"


def _prepare(program: Path) -> dict[str, int]:
    for name in ("log", "etcd", "bin", "cni/bin", "cni/conf"):
        (home() / name).mkdir(mode=0o700, parents=True, exist_ok=True)
    for name in build.PROGRAMS:
        (home() / "bin" / name).symlink_to(program)
    ports = dict(zip(PORTS, _free_ports(len(PORTS)), strict=True))
    (home() / "ports.json").write_text(json.dumps(ports))
    (home() / "ports").write_text("".join(f"{name}_port={port}\n" for name, port in ports.items()))
    authority = Authority(home() / "pki")
    authority.issue("apiserver", "kube-apiserver", server=True)
    authority.issue("kubelet-serving", "node", server=True)
    authority.issue("kubelet-client", "kube-apiserver-kubelet-client", ("system:masters",))
    authority.key("service-account")
    for name, who, groups in USERS:
        authority.issue(name, who, groups)
        _kubeconfig(name, ports["api"])
    for name in ("kubelet.yaml", "containerd.toml"):
        text = (HERE / name).read_text().replace("HOME_DIR", str(home()))
        (home() / name).write_text(text.replace("KUBELET_PORT", str(ports["kubelet"])))
    for name in ("none", "loopback"):
        shutil.copy(HERE / "cni", home() / "cni/bin" / name)
    network = {"cniVersion": "0.4.0", "name": "none", "plugins": [{"type": "none"}]}
    (home() / "cni/conf/10-none.conflist").write_text(json.dumps(network))
    return ports


def _free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as held:
        sockets = [held.enter_context(socket.create_server((NODE, 0))) for _ in range(count)]
        return [each.getsockname()[1] for each in sockets]


def _kubeconfig(name: str, port: int) -> None:
    pki = home() / "pki"
    cluster = {"server": f"https://{NODE}:{port}", "certificate-authority": str(pki / "ca.crt")}
    who = {"client-certificate": str(pki / f"{name}.crt"), "client-key": str(pki / f"{name}.key")}
    path = kubeconfig(name)
    path.touch(mode=0o600)
    path.write_text(
        yaml.safe_dump(
            {
                "apiVersion": "v1",
                "kind": "Config",
                "current-context": name,
                "clusters": [{"name": "debugrun-test", "cluster": cluster}],
                "users": [{"name": name, "user": who}],
                "contexts": [{"name": name, "context": {"cluster": "debugrun-test", "user": name}}],
            }
        )
    )


def _group() -> str:
    return f"{CGROUP}-{os.stat(folder()).st_ino}"  # noqa: PTH116 - two state folders may have one name


def _start(ports: dict[str, int]) -> None:
    """A cgroup of its own in each v1 hierarchy, entered before its namespace is made, is the node's root."""
    del ports
    entries = []
    for each in CGROUPS.glob("*/cgroup.procs"):
        group = each.parent / _group()
        group.mkdir(exist_ok=True)
        if each.parent.name == "cpuset":
            for name in ("cpuset.cpus", "cpuset.mems"):
                (group / name).write_text((each.parent / name).read_text())
        entries.append(str(group / "cgroup.procs"))
    script = 'init=$1 home=$2; shift 2; for each; do echo $$ >"$each"; done; exec unshare --mount --pid --fork --ipc'
    script += ' --uts --cgroup --mount-proc "$init" "$home"'
    with (home() / "log/init").open("w") as log:
        process = subprocess.Popen(
            ["bash", "-c", script, "init", str(HERE / "init"), str(home()), *entries],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env={"PATH": _path(), "HOME": "/root"},
            cwd="/",
            start_new_session=True,
        )
    (home() / "leader").write_text(f"{process.pid} {_start_time(process.pid)}")
    process.returncode = 0  # it is to outlive us: no warning that it still runs


def _leader() -> int | None:
    """PID of the process that holds the namespaces, while it lives."""
    try:
        pid, start = (home() / "leader").read_text().split()
        if _start_time(int(pid)) == start:
            return int(pid)
    except (OSError, ValueError):
        pass
    return None


def _start_time(pid: int) -> str:
    """Field 22 of proc_pid_stat(5); "" of one that has ended."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except FileNotFoundError:
        return ""
    return "" if fields[0] in "ZX" else fields[19]


def _first(leader: int) -> int | None:
    """PID 1 of the namespaces, as this machine counts."""
    children = Path(f"/proc/{leader}/task/{leader}/children").read_text().split()
    return int(children[0]) if children else None


def _inside() -> list[str]:
    leader = _leader()
    first = _first(leader) if leader is not None else None
    if first is None:
        raise HostError("the cluster does not run; try: python -m tests.host.kubernetes up")
    return ["nsenter", "--target", str(first), "--all"]


def _ready() -> bool:
    """Whether the node is Ready."""
    pki = home() / "pki"
    try:
        port = json.loads((home() / "ports.json").read_text())["api"]
        context = ssl.create_default_context(cafile=pki / "ca.crt")
        context.load_cert_chain(pki / "admin.crt", pki / "admin.key")
        address = f"https://{NODE}:{port}/api/v1/nodes/{NODE}"
        with urllib.request.urlopen(address, timeout=5, context=context) as answer:
            node = json.load(answer)
    except (OSError, urllib.error.URLError, ValueError):
        return False
    conditions = node.get("status", {}).get("conditions", [])
    return any(each["type"] == "Ready" and each["status"] == "True" for each in conditions)


def main() -> None:
    """Do what the only argument says."""
    try:
        match sys.argv[1:]:
            case ["up"]:
                print(up())
            case ["down"]:
                down()
            case ["build"]:
                print(build.hyperkube())
            case ["load", *names] if names:
                load(docker.from_env(timeout=600).api, names)
            case _:
                sys.exit("usage: python -m tests.host.kubernetes up|down|build|load IMAGE...")
    except HostError as error:
        sys.exit(f"kubernetes: {error}")
