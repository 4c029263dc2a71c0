"""Programs with a known smallest grant, for `debugrun minimize`, each on a line that gives more."""

from __future__ import annotations

from dataclasses import dataclass

IMAGE = "debugrun-test/full"
_C = "import ctypes, os, socket, sys; c = ctypes.CDLL(None, use_errno=True)\n"


@dataclass(frozen=True, kw_only=True, slots=True)
class Workload:
    """`needed` are the parts that nothing else can stand for; `options` are the line's own."""

    name: str
    code: str
    needed: frozenset[str]
    options: tuple[str, ...] = ()

    @property
    def line(self) -> list[str]:
        return ["docker", "run", "--network", "none", *self.options, IMAGE, "python3", "-c", _C + self.code]


def syscall(number: int, *args: str) -> str:
    """Python that fails where the system call does."""
    return f"sys.exit(c.syscall({', '.join([str(number), *args])}) < 0)\n"


def root(*caps: str) -> frozenset[str]:
    return frozenset({*(f"cap:{name}" for name in caps), "root"})


def calls(*names: str) -> frozenset[str]:
    return frozenset(f"call:{name}" for name in names)


UNCONFINED = ("--security-opt", "seccomp=unconfined")
_PERF = "a = ctypes.create_string_buffer(128); ctypes.memmove(a, bytes([1, 0, 0, 0, 112, 0, 0, 0]), 8); a[40] = 96\n"
_OPEN = syscall(298, "a", "0", "-1", "-1", "0")  # perf_event_open, on x86_64
_OTHERS_FILE = "p = '/tmp/f'; open(p, 'w').close(); os.chmod(p, 0o600); os.chown(p, 1000, 1000)\n"
WORKLOADS = [
    Workload(name="nothing", code="", needed=frozenset()),
    Workload(name="nothing without a filter", code="", options=UNCONFINED, needed=frozenset()),
    Workload(name="chown", code="open('/tmp/f', 'w').close(); os.chown('/tmp/f', 1000, 1000)\n", needed=root("CHOWN")),
    Workload(name="become a user", code="os.setuid(1000)\n", needed=root("SETUID")),
    Workload(name="become a group", code="os.setgid(1000)\n", needed=root("SETGID")),
    Workload(
        name="a service that drops its rights",
        code="open('/tmp/f', 'w').close(); os.chown('/tmp/f', 9, 9); os.setgroups([9]); os.setgid(9); os.setuid(9)\n",
        needed=root("CHOWN", "SETGID", "SETUID"),
    ),
    Workload(name="mknod", code="os.mknod('/tmp/n', 0o20600, os.makedev(1, 3))\n", needed=root("MKNOD")),
    Workload(
        name="ping", code="socket.socket(socket.AF_INET, socket.SOCK_RAW, 1)\n", needed=root("NET_RAW")
    ),
    Workload(
        name="tcpdump", code="socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 768)\n", needed=root("NET_RAW")
    ),
    Workload(
        name="a web server on port 80",
        code="socket.socket().bind(('127.0.0.1', 80))\n",
        options=("--sysctl", "net.ipv4.ip_unprivileged_port_start=1024"),
        needed=root("NET_BIND_SERVICE"),
    ),
    Workload(name="port 80 of Docker's own", code="socket.socket().bind(('127.0.0.1', 80))\n", needed=frozenset()),
    Workload(name="chroot", code="os.chroot('/tmp')\n", needed=root("SYS_CHROOT")),
    Workload(
        name="read another's file", code=_OTHERS_FILE + "open(p).read()\n", needed=root("CHOWN", "DAC_OVERRIDE")
    ),
    Workload(name="chmod another's file", code=_OTHERS_FILE + "os.chmod(p, 0o644)\n", needed=root("CHOWN", "FOWNER")),
    Workload(
        name="file capabilities",
        code="open('/tmp/f', 'w').close()\n"
        "os.setxattr('/tmp/f', 'security.capability', bytes.fromhex('0000000200200000000000000000000000000000'))\n",
        needed=root("SETFCAP"),
    ),
    Workload(name="drop a bounding capability", code="sys.exit(c.prctl(24, 0, 0, 0, 0) < 0)\n", needed=root("SETPCAP")),
    Workload(
        name="kill another's process",
        code="r, w = os.pipe(); p = os.fork()\n"
        "if p == 0:\n  import time; os.setuid(1000); os.write(w, b'1'); time.sleep(60)\n"
        "os.close(w); os.read(r, 1) or sys.exit(1); os.kill(p, 9)\n",
        needed=root("KILL", "SETUID"),
    ),
    Workload(
        name="mount", code="sys.exit(c.mount(b'n', b'/tmp', b'tmpfs', 0, None) < 0)\n",
        options=("--cap-add", "SYS_ADMIN", *UNCONFINED), needed=root("SYS_ADMIN"),
    ),
    Workload(
        name="configure a network", code="import fcntl, struct; s = socket.socket()\n"
        "fcntl.ioctl(s, 0x8914, struct.pack('16sh', b'lo', 0x49))\n",
        options=("--cap-add", "NET_ADMIN", "--cap-add", "SYS_PTRACE"), needed=root("NET_ADMIN"),
    ),
    Workload(
        name="priority", code="os.nice(-5)\n", options=("--cap-add", "SYS_NICE"), needed=root("SYS_NICE")
    ),
    Workload(
        name="gdb with fixed addresses", code="sys.exit(c.personality(0x40000) < 0)\n", options=UNCONFINED,
        needed=calls("personality(0x40000)"),
    ),
    Workload(
        name="perf", code=_PERF + _OPEN, options=UNCONFINED,
        needed=calls("perf_event_open"),
    ),
    Workload(
        name="rr", code=_PERF + "c.personality(0x40000) < 0 and sys.exit(1)\n" + _OPEN,
        options=("--cap-add", "SYS_PTRACE", *UNCONFINED), needed=calls("perf_event_open", "personality(0x40000)"),
    ),
    Workload(
        name="a sandbox of its own", code="sys.exit(c.unshare(0x10000000) < 0)\n", options=UNCONFINED,
        needed=calls("unshare"),
    ),
    Workload(
        name="keys", code=syscall(250, "0", "-3", "1"), options=UNCONFINED, needed=calls("keyctl")
    ),
    Workload(
        name="a device",
        code="import stat; sys.exit(not stat.S_ISCHR(os.stat('/dev/more').st_mode))\n",
        options=("--device", "/dev/null:/dev/more"),
        needed=frozenset({"device:/dev/null:/dev/more"}),
    ),
]  # fmt: skip
