"""What the kernel prints in /proc, as facts: proc_pid_status(5), proc_pid_cgroup(5), user_namespaces(7).

Pure: text in, facts out. Who read the text, and from which namespaces, is for the caller to say.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable

from debugrun.core import package_data
from debugrun.core.know.facts import ProcessFacts
from debugrun.values import dataclass

# An identity as in the initial user namespace: (first id inside, first id outside, length).
IdMap = tuple[tuple[int, int, int], ...]


def _capabilities() -> tuple[str, ...]:
    text = package_data.text("capabilities.toml")
    table = tomllib.loads(text)
    return tuple(sorted(table, key=lambda name: int(table[name]["number"])))


# By number, without CAP_.
CAPABILITIES = _capabilities()

USER_HZ = 100  # ticks of a second in what the kernel prints, on all machines that Linux has today
_ESCAPE = re.compile(r"\\([0-7]{3}|n|\\)")


@dataclass(frozen=True, kw_only=True, slots=True)
class Status:
    """One /proc/PID/status. Ids are those of the reader's namespaces; `ns_pids` go from the reader's inward.

    Capability fields are bit masks. `no_new_privileges` and later ones are None where the kernel prints none.
    """

    comm: str
    state: str
    pid: int
    tgid: int
    ppid: int
    tracer: int
    uids: tuple[int, ...]
    gids: tuple[int, ...]
    groups: tuple[int, ...]
    ns_pids: tuple[int, ...]
    threads: int
    permitted: int
    effective: int
    bounding: int
    ambient: int
    no_new_privileges: bool | None
    seccomp: int | None
    seccomp_filters: int | None


def parse_status(text: str) -> Status:
    """A status file. Raises ValueError when it is cut off or no status file."""
    fields = dict(line.split(":", 1) for line in text.splitlines() if ":" in line)

    def numbers(key: str) -> tuple[int, ...]:
        return tuple(int(word) for word in fields.get(key, "").split())

    def number(key: str) -> int | None:
        return next(iter(numbers(key)), None)

    try:
        pid, no_new_privileges = int(fields["Pid"]), number("NoNewPrivs")
        return Status(
            comm=unescape(fields["Name"].removeprefix("\t")),
            state=fields["State"].split()[0],
            pid=pid,
            tgid=int(fields["Tgid"]),
            ppid=int(fields["PPid"]),
            tracer=int(fields["TracerPid"]),
            uids=numbers("Uid"),
            gids=numbers("Gid"),
            groups=numbers("Groups"),
            ns_pids=numbers("NSpid") or (pid,),
            threads=int(fields["Threads"]),
            permitted=int(fields["CapPrm"], 16),
            effective=int(fields["CapEff"], 16),
            bounding=int(fields["CapBnd"], 16),
            ambient=int(fields.get("CapAmb", "0"), 16),
            no_new_privileges=None if no_new_privileges is None else bool(no_new_privileges),
            seccomp=number("Seccomp"),
            seccomp_filters=number("Seccomp_filters"),
        )
    except (KeyError, IndexError) as error:
        raise ValueError(f"not a whole /proc/PID/status: {error}") from error


def split_statuses(text: str) -> list[str]:
    """Several status files in a row, apart: each begins with Name, whose value has its newlines escaped."""
    return re.findall(r"(?ms)^Name:\t.*?(?=^Name:\t|\Z)", text)


def unescape(text: str) -> str:
    r"""Undo the escapes of a status file's Name: fs/proc/array.c proc_task_name() writes \n and \\."""
    return _ESCAPE.sub(lambda m: {"n": "\n", "\\": "\\"}.get(m[1]) or chr(int(m[1], 8)), text)


@dataclass(frozen=True, kw_only=True, slots=True)
class Reading:
    """What was read of one process. None and "" : it could not be read.

    `owner` is the (uid, gid) of its status file, `uid_map` and `gid_map` map its container's ids to the reader's
    (empty: the same). `shell_command` says that it was started as `sh -c ...`. `words` of its command line, and `cpu`
    (seconds), are there for a person to tell processes apart, where several may be meant.
    """

    status: Status
    owner: tuple[int, int] | None = None
    cgroup: str = ""
    label: str | None = None
    exe: str | None = None
    uid_map: IdMap = ()
    gid_map: IdMap = ()
    shell_command: bool = False
    start_time: int | None = None
    words: tuple[str, ...] = ()
    cpu: float | None = None


def start_time(text: str) -> int | None:
    """The start time in a /proc/PID/stat, in clock ticks since the boot; None where it is cut off.

    proc_pid_stat(5): the 22nd field. A name in parentheses may hold anything, a parenthesis and a newline too.
    """
    fields = text.rpartition(")")[2].split()
    return int(fields[19]) if len(fields) > 19 and fields[19].isascii() and fields[19].isdigit() else None  # noqa: PLR2004 - 22 less two


def process_facts(  # noqa: PLR0913 - what its own files do not tell
    reading: Reading,
    *,
    depth: int,
    ppid: int,
    dumpable: bool | None,
    host_pid: int | None,
    by_target: tuple[str, ...] = (),
) -> ProcessFacts:
    """A process as its container sees it.

    `depth` is how many PID namespaces the container's lies below the reader's. `ppid` is the parent's PID in the
    container, 0 outside of it.
    """
    status = reading.status
    return ProcessFacts(
        pid=status.ns_pids[depth],
        comm=status.comm,
        state=status.state,
        tgid=status.ns_pids[depth],
        ppid=ppid,
        uids=tuple(inside(each, reading.uid_map) for each in status.uids),
        gids=tuple(inside(each, reading.gid_map) for each in status.gids),
        groups=tuple(inside(each, reading.gid_map) for each in status.groups),
        permitted=names(status.permitted),
        effective=names(status.effective),
        bounding=names(status.bounding),
        ambient=names(status.ambient),
        dumpable=dumpable,
        tracer=status.tracer,
        no_new_privileges=bool(status.no_new_privileges),
        seccomp=status.seccomp or 0,
        seccomp_filters=status.seccomp_filters,
        threads=status.threads,
        exe=reading.exe,
        label=reading.label,
        host_pid=host_pid,
        start_time=reading.start_time,
        by_target=by_target,
    )


def dumpable_by_owner(reading: Reading) -> bool | None:
    """Whether a process is dumpable, from the owner of its status file; None where that can't tell.

    fs/proc/base.c task_dump_owner(): the files belong to the effective ids of a dumpable process, and to root of
    the user namespace that its program was started in otherwise. So a process whose effective ids are those of
    root looks the same either way. The directory /proc/PID itself always belongs to the effective ids.
    """
    status, owner = reading.status, reading.owner
    if owner is None:
        return None
    effective = (status.uids[1], status.gids[1])
    if owner != effective:
        return False
    root = (outside(0, reading.uid_map), outside(0, reading.gid_map))
    return None if effective == root else True


def dumpable_by_access(reading: Reading, *, readable: bool, ids: tuple[int, int], effective: int) -> bool | None:
    """Whether a process is dumpable, from whether one with these ids and capabilities can read its exe link.

    To read the link /proc/PID/exe is a PTRACE_MODE_READ_FSCREDS check (fs/proc/base.c proc_pid_readlink(),
    kernel/ptrace.c __ptrace_may_access()): same uids and gids, dumpable, and permitted capabilities within the
    asker's effective ones; SYS_PTRACE lifts each, so the asker must not have it. A yes says dumpable, a no says not
    dumpable where nothing else can have been the reason. Both must be in one user namespace: the owner of one has
    all capabilities in it (user_namespaces(7)), whatever is effective.
    """
    status = reading.status
    if reading.uid_map or effective & mask({"SYS_PTRACE"}):
        return None
    if readable:
        return True
    same_ids = set(status.uids[:3]) == {ids[0]} and set(status.gids[:3]) == {ids[1]}
    return False if same_ids and status.permitted & ~effective == 0 else None


def cpu_seconds(stat: str) -> float | None:
    """The processor time in a /proc/PID/stat, in seconds; None where it is none. proc_pid_stat(5): utime, stime."""
    fields = stat.rpartition(")")[2].split()[11:13]
    return sum(int(each) for each in fields) / USER_HZ if len(fields) == 2 and all(map(str.isdigit, fields)) else None  # noqa: PLR2004


def parse_id_map(text: str) -> IdMap:
    """A uid_map or gid_map: user_namespaces(7)."""
    rows = (tuple(int(word) for word in line.split()) for line in text.splitlines())
    return tuple((row[0], row[1], row[2]) for row in rows if len(row) == 3)  # noqa: PLR2004 - three columns


def inside(number: int, id_map: IdMap) -> int:
    """The reader's id `number` as the mapped namespace has it; the overflow id 65534 where it has none."""
    if not id_map:
        return number
    for first, start, length in id_map:
        if start <= number < start + length:
            return number - start + first
    return 65534


def outside(number: int, id_map: IdMap) -> int | None:
    """The mapped namespace's id `number` as the reader has it; None where it has none."""
    if not id_map:
        return number
    for first, start, length in id_map:
        if first <= number < first + length:
            return number - first + start
    return None


def cgroup_paths(text: str) -> dict[str, str]:
    """A cgroup file as {controller: path}; the unified hierarchy's controller is "". cgroups(7)."""
    paths = {}
    for line in text.splitlines():
        _, _, rest = line.partition(":")
        controllers, colon, path = rest.partition(":")
        if colon:
            paths.update(dict.fromkeys(controllers.split(","), path))
    return paths


def names_container(cgroup: str, container_id: str) -> bool:
    """Whether a cgroup file (or mountinfo) says that the process is in that container: 64 hex digits don't lie."""
    return bool(container_id) and container_id in cgroup


def container_of(cgroup: str) -> str | None:
    """The id of the innermost container that a cgroup file names."""
    found = re.findall(r"(?<![0-9a-f])[0-9a-f]{64}(?![0-9a-f])", cgroup)
    return found[-1] if found else None


def names(mask: int) -> tuple[str, ...]:
    """The capabilities of a mask by name, sorted; a bit newer than the table is CAP_<number>."""
    known = len(CAPABILITIES)
    bits = (bit for bit in range(mask.bit_length()) if mask >> bit & 1)
    return tuple(sorted(CAPABILITIES[bit] if bit < known else f"CAP_{bit}" for bit in bits))


def mask(held: Iterable[str]) -> int:
    """The mask of capabilities given by name. Raises ValueError for a name that there is not."""
    value = 0
    for name in held:
        if re.fullmatch(r"CAP_\d+", name):
            value |= 1 << int(name[4:])
        elif name in CAPABILITIES:
            value |= 1 << CAPABILITIES.index(name)
        else:
            raise ValueError(f"no capability {name}")
    return value


def lockdown(text: str) -> str | None:
    """The level in force by /sys/kernel/security/lockdown, the word in brackets: kernel_lockdown(7)."""
    match = re.search(r"\[(none|integrity|confidentiality)\]", text)
    return match[1] if match else None


def proc_mem_override(cmdline: str) -> str | None:
    """What the kernel was started with (Documentation/admin-guide/kernel-parameters.txt); None: as it was built."""
    words = re.findall(r"(?:^|\s)proc_mem[.]force_override=(always|ptrace|never)(?=\s|$)", cmdline)
    return words[-1] if words else None


def gpu_counters(params: str) -> str | None:
    """Whose an NVIDIA GPU's performance counters are, by /proc/driver/nvidia/params: "admin" or "everybody"."""
    match = re.search(r"(?m)^(?:RmProfilingAdminOnly|RestrictProfilingToAdminUsers): ([01])$", params)
    return {"1": "admin", "0": "everybody"}[match[1]] if match else None


def gpu_driver(version: str) -> str | None:
    """The version of the NVIDIA driver, by /proc/driver/nvidia/version."""
    match = re.search(r"(?m)^NVRM version: .*?\b(\d{3,}(?:\.\d+)+)\b", version)
    return match[1] if match else None
