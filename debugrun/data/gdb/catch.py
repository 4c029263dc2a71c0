"""Wait for the moment when a process crashes, exits, is sent a signal, makes a call, and copy its stacks then.

This text follows data/gdb/prelude.py and data/gdb/stacks.py in one namespace; `catch(QUESTION)` writes lines of JSON to
descriptor 1. It changes no fate. PTRACE_SEIZE stops nobody and sends nothing, and when we end, however we end, the
kernel lets all go on, a thread that stands before the delivery of a signal with that signal: ptrace(2).

What being traced changes by itself, and what is done about it:

* A program that gains privileges by execve(2) does not gain them under a tracer that lacks SYS_PTRACE, by
  LSM_UNSAFE_PTRACE of security/commoncap.c. So where that may be, a new process is watched call by call, and let go
  of as it enters such an execve.
* PID 1 of a container survives its own faults as long as it is traced: force_sig_info_to_task() of kernel/signal.c. So
  it is let go of, and not only allowed to run, once its stacks are copied.
* A signal that a program ignores wakes a traced thread for a moment: calls that are never restarted may return EINTR.

A process that is about to die stands still until its stacks are unwound, for then its files are gone: not longer than
`hold`. Every other goes on as soon as its stacks are copied. The unwinding is another gdb's: nobody waits for it.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import re
import signal
import stat
import struct
import time

CONT, SYSCALL, LISTEN = 7, 24, 0x4208  # linux/ptrace.h
GETEVENTMSG, GETSIGINFO, GET_SYSCALL_INFO = 0x4201, 0x4202, 0x420E
GOOD, FORK, VFORK, CLONE, EXEC, EXIT = 1, 2, 4, 8, 16, 64  # PTRACE_O_
BORN, EXECUTED, EXITS = (1, 2, 3), 4, 6  # PTRACE_EVENT_
AT_CALL = signal.SIGTRAP | 0x80
ENTRY, LEAVES = 1, 2  # PTRACE_SYSCALL_INFO_
AUDIT = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}  # linux/audit.h
EXECVE = {0xC000003E: (59, 322), 0xC00000B7: (221, 281), 0x40000003: (11, 358)}  # and execveat; by linux/audit.h
LINKS = 40  # that the kernel follows on one path: path_resolution(7)
INTERPRETERS = 5  # programs that run programs: execve(2)
# The number of the system call and of exit_group(2), as the registers have them: asm/ptrace.h, asm/unistd.h.
CALL_NUMBER = {"x86_64": (15, 231, 60), "aarch64": (8, 94, 93)}
STOPS = frozenset((signal.SIGSTOP, signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU))
HARMLESS = STOPS | {signal.SIGCHLD, signal.SIGCONT, signal.SIGURG, signal.SIGWINCH}  # signal(7): no "Term" or "Core"
CORES = frozenset(  # signal(7): those whose default is "Core"
    (signal.SIGQUIT, signal.SIGILL, signal.SIGTRAP, signal.SIGABRT, signal.SIGBUS, signal.SIGFPE, signal.SIGSEGV,
     signal.SIGXCPU, signal.SIGXFSZ, signal.SIGSYS)
)  # fmt: skip
ENDING = frozenset((signal.SIGTERM, signal.SIGINT, signal.SIGQUIT, signal.SIGHUP))  # what a container is stopped by
UNWINDERS = 2  # at work at a time
TOGETHER = 32  # copies of one process that one of them takes
PATIENT = 60.0  # seconds for the unwinding of what does not wait for it
HELD = 16  # processes that stand still at a time; more are let die unseen, and that is said
SPAWNING = 500  # calls of a new process after which it counts as one that will run no other program
AGAIN = 2.0  # seconds after which a process that did not run another program is taken again
TICK, RARELY = 0.02, 1.0  # seconds between looks for new processes, and between looks where none were born
CONTAINER = re.compile(r"(?<![0-9a-f])[0-9a-f]{64}(?![0-9a-f])")
SYS_PTRACE = 1 << 19


def tell(**words):
    text = (json.dumps(words) + "\n").encode()
    while text:
        text = text[os.write(1, text) :]


def facts_of(pid):
    """The fields of /proc/PID/status; {}: it has ended."""
    try:
        with open(f"/proc/{pid}/status", encoding="utf-8", errors="replace") as file:
            return dict(line.rstrip("\n").split(":\t", 1) for line in file if ":\t" in line)
    except OSError:
        return {}


def inner(facts):
    """The PID in the innermost namespace, which is the container's."""
    return int(facts.get("NSpid", facts.get("Pid", "0")).split()[-1])


def fatal(number, code, facts):
    """Whether a signal that is delivered now ends the process: signal(7), pid_namespaces(7), kernel/signal.c.

    `code` is its si_code: above zero it is a fault of the thread's own.
    """
    bit = 1 << (number - 1)
    if (int(facts["SigCgt"], 16) | int(facts["SigIgn"], 16)) & bit or number in HARMLESS:
        return False
    return code > 0 or inner(facts) != 1


REFUSALS = frozenset((1, 13, 38))  # EPERM, EACCES, ENOSYS
OVERRIDE, SEARCH = 1 << 1, 1 << 2  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH


def permits(found, facts, want):
    """Whether the mode of a file lets a process do what `want` (of 4 read, 2 write, 1 execute) says: inode(7)."""
    effective = int(facts["CapEff"], 16)
    folder, mode = stat.S_ISDIR(found.st_mode), found.st_mode
    if effective & OVERRIDE and (folder or not want & 1 or mode & 0o111):
        return True
    if effective & SEARCH and not want & 2 and (folder or want == 4):
        return True
    groups = {int(facts["Gid"].split()[3]), *(int(each) for each in facts.get("Groups", "").split())}
    shift = 6 if int(facts["Uid"].split()[3]) == found.st_uid else 3 if found.st_gid in groups else 0
    return (mode >> shift) & want == want


class BarredError(Exception):
    """What on a path is not permitted: where, what was found there, and what was wanted."""


def barrier(pid, facts, base, path, want, *, parent):  # noqa: PLR0913 - a path, who asks, and for what
    """What keeps a process from what it wants of a path, by the modes on it; {}: nothing: path_resolution(7)."""

    def check(name, wanted):
        found = os.stat(name)
        if wanted and not permits(found, facts, wanted):
            raise BarredError(name, found, wanted)

    try:
        name = resolved(pid, path, base, lambda folder: check(folder, 1))
        check(os.path.dirname(name) if parent else name, 3 if parent else want)
    except BarredError as barred:
        name, found, wanted = barred.args
        shown = name.removeprefix(f"/proc/{pid}/root").removeprefix(f"/proc/{pid}/cwd") or "/"
        return {"path": shown, "mode": found.st_mode, "uid": found.st_uid, "gid": found.st_gid, "want": wanted}
    except (OSError, ValueError):
        pass
    return {}


def image(pid):
    """What changes when a process runs another program: where its stack is."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return file.read().rpartition(b")")[2].split()[25]
    except (OSError, IndexError):
        return b""


def resolved(pid, path, base="", visit=None):
    """The file that a path of process `pid` leads to, as we open it; links are its own. Raises OSError, ValueError.

    `base` is the folder of a relative one, the working directory without; `visit` hears of each folder on the way. The
    last part of the path need not be there.
    """
    root = f"/proc/{pid}/root"
    base = root if path.startswith("/") else base or f"/proc/{pid}/cwd"
    done, todo, links = [], path.split("/")[::-1], 0
    while todo:
        word = todo.pop()
        if word in {"", "."}:
            continue
        if word == "..":
            done = done[:-1] if done or base == root else [".."]
            continue
        if visit:
            visit("/".join([base, *done]))
        here = "/".join([base, *done, word])
        try:
            link = stat.S_ISLNK(os.lstat(here).st_mode)
        except FileNotFoundError:
            if any(todo):
                raise
            link = False
        if link:
            links += 1
            if links > LINKS:
                raise ValueError("too many links")
            target = os.readlink(here)
            if target.startswith("/"):
                base, done = root, []
            todo += target.split("/")[::-1]
        else:
            done.append(word)
    return "/".join([base, *done])


def gives(pid, path):
    """Whether executing a file gives more than a process has: execve(2), capabilities(7); yes where that is hidden."""
    try:
        for _ in range(INTERPRETERS):
            name = resolved(pid, path)
            if not stat.S_ISREG(os.lstat(name).st_mode):
                return False
            fd = os.open(name, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOFOLLOW)
            try:
                mode = os.fstat(fd).st_mode
                if mode & (stat.S_ISUID | stat.S_ISGID) or "security.capability" in os.listxattr(fd):
                    return True
                head = os.read(fd, 256)
            finally:
                os.close(fd)
            words = head[2:].split(b"\n")[0].split()
            if head[:2] != b"#!" or not words:
                return False
            path = os.fsdecode(words[0])
    except (FileNotFoundError, NotADirectoryError):
        return False  # it will find the same
    except (OSError, ValueError):
        pass
    return True


class Victim:
    """A process of which stacks were copied; `stops` says of each thread that stands still what it stopped for."""

    def __init__(self, pid, tid, why, stops, *, holds):
        self.pid, self.tid, self.why, self.stops, self.holds = pid, tid, why, stops, holds
        self.inner = inner(facts_of(pid))
        self.since = time.monotonic()
        self.still = 0.0
        self.late, self.error, self.path, self.unwinder = [], "", "", 0
        self.names, self.inside = {}, {}


class Watch:
    """All threads that are watched."""

    def __init__(self, question):
        self.ask = question
        self.kind, self.wanted = question["on"], question.get("argument")
        self.threads = {}  # {TID: PID}
        self.born = {}  # {PID: calls that it has made, of a new process that may run another program}
        self.left = {}  # {PID: (what it was, since when): let go of before it runs another program}
        self.refused, self.victims, self.fates = {}, [], {}
        self.entered, self.denied = {}, {}  # what each thread is asking, and how often was refused what
        self.by_call = self.kind in {"syscall", "denial"}
        self.caught = self.passed = self.stops = 0
        self.handled = 0.0
        self.options = GOOD | FORK | VFORK | CLONE | EXEC | (EXIT if self.kind in {"exit", "restart"} else 0)
        mine = facts_of(os.getpid())
        self.able = bool(int(mine["CapEff"], 16) & SYS_PTRACE)
        self.newest, self.looked, self.first, self.ended = "", 0.0, True, False
        self.own = self.top()

    # Who is watched

    def top(self):
        """The first of our own processes in this PID namespace."""
        pid = os.getpid()
        while (parent := int(facts_of(pid).get("PPid", "0"))) > 1:
            pid = parent
        return pid

    def ours(self, pid):
        while pid > 1 and pid != self.own:
            pid = int(facts_of(pid).get("PPid", "0"))
        return pid == self.own

    def member(self, pid):
        """Whether it is of the container: what other sidecars run beside it is not."""
        try:
            with open(f"/proc/{pid}/cgroup", encoding="utf-8", errors="replace") as file:
                named = CONTAINER.findall(file.read())
        except OSError:
            return False
        if self.ask["pid"] and self.ask["pid"] != inner(facts_of(pid)):
            return False
        return self.ask["container"] in named or (not named and not self.ask["across"] and not self.ours(pid))

    def scan(self):
        """Take what is not watched yet."""
        known = set(self.threads.values())
        for name in os.listdir("/proc"):
            pid = int(name) if name.isdigit() else 0
            if pid and pid not in known and self.member(pid):
                before = self.left.get(pid)
                if before and image(pid) == before[0] and time.monotonic() - before[1] < AGAIN:
                    continue
                self.left.pop(pid, None)
                self.seize(pid)

    def seize(self, pid):
        facts = facts_of(pid)
        if not facts or facts["State"][0] in "ZX" or facts["Name"].startswith("runc"):
            return
        new = True
        while new:
            new = [tid for tid in tasks(pid) if tid not in self.threads]  # noqa: F821 - of stacks.py, as ptrace
            for tid in new:
                if ptrace(SEIZE, tid, None, self.options) == 0:  # noqa: F821
                    if self.by_call:
                        ptrace(INTERRUPT, tid, None, None)  # noqa: F821 - only from a stop it goes on to its next call
                    self.threads[tid] = pid
                elif facts_of(tid).get("TracerPid") == str(os.getpid()):
                    self.begun(tid)  # it was born of one that is watched, and has not told yet
                else:
                    error = os.strerror(ctypes.get_errno())
                    if self.refused.get(pid) != error and ctypes.get_errno() != 3:
                        self.refused[pid] = error
                        tell(event="refused", pid=inner(facts), name=facts["Name"], error=error)
                    return
        self.refused.pop(pid, None)
        tell(event="watched", pid=inner(facts), name=facts["Name"], threads=len(tasks(pid)))  # noqa: F821

    def may_gain(self, pid):
        """Whether a program that it runs could get more than it has, and would not under us."""
        facts = facts_of(pid)
        return not self.able and facts.get("NoNewPrivs") != "1" and facts.get("Uid", "0").split()[0] != "0"

    # What happens to them

    def go(self, tid, number=0):
        """Let a thread run on."""
        pid = self.threads.get(tid, tid)
        ptrace(SYSCALL if self.by_call or pid in self.born else CONT, tid, None, number or None)  # noqa: F821

    def drain(self):
        while True:
            try:
                tid, status = os.waitpid(-1, os.WNOHANG | WALL)  # noqa: F821 - of stacks.py
            except ChildProcessError:
                return
            if not tid:
                return
            began = time.monotonic()
            self.stops += 1
            self.handle(tid, status)
            self.handled += time.monotonic() - began

    def handle(self, tid, status):
        unwound = [each for each in self.victims if each.unwinder == tid]
        for each in unwound:
            each.unwinder = -1
        if unwound:
            return
        if not os.WIFSTOPPED(status):
            pid = self.threads.pop(tid, tid)
            if tid == pid:
                self.born.pop(pid, None)
                if pid in self.fates:
                    number = os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0
                    tell(event="fate", pid=self.fates.pop(pid), signal=number, status=0 if number else status >> 8)
            return
        if tid not in self.threads:
            self.begun(tid)
        held = next((each for each in self.victims if self.threads[tid] == each.pid and each.holds), None)
        if held:
            held.stops[tid] = status  # a thread that came late: it is let go with the others
            return
        self.stopped(tid, status)

    def stopped(self, tid, status):
        number, event = os.WSTOPSIG(status), status >> 16
        if event == EVENT_STOP:  # noqa: F821 - of stacks.py
            if number in STOPS:
                ptrace(LISTEN, tid, None, None)  # noqa: F821
            else:
                self.go(tid)
        elif event == EXECUTED:
            pid = self.threads[tid]
            for other in [each for each, owner in self.threads.items() if owner == pid and each != tid]:
                del self.threads[other]
            self.go(tid)
        elif event == EXITS:
            self.exits(tid, status)
        elif event:
            self.go(tid)
        elif number == AT_CALL:
            self.calls(tid, status)
        else:
            self.signalled(tid, status, number)

    def begun(self, tid):
        """A thread or process that was born of one that is watched."""
        facts = facts_of(tid)
        pid = int(facts.get("Tgid", tid))
        self.threads[tid] = pid
        if tid == pid and self.may_gain(pid):
            self.born[pid] = 0

    def calls(self, tid, status):
        pid = self.threads[tid]
        buffer = ctypes.create_string_buffer(88)
        size = ptrace(GET_SYSCALL_INFO, tid, len(buffer), ctypes.addressof(buffer))  # noqa: F821
        operation = buffer.raw[0] if size >= 32 else 0
        (arch,) = struct.unpack_from("<I", buffer.raw, 4)
        if operation == LEAVES:
            self.left_call(tid, status, struct.unpack_from("<q", buffer.raw, 24)[0])
            return
        call, *words = struct.unpack_from("<7Q", buffer.raw, 24)
        if operation == ENTRY and pid in self.born:
            self.born[pid] += 1
            if call in EXECVE.get(arch, ()):
                self.born[pid] = 0
                if call != EXECVE[arch][0] or gives(pid, self.text(pid, words[0])):
                    del self.born[pid]
                    self.left[pid] = image(pid), time.monotonic()
                    self.threads.pop(tid)
                    ptrace(DETACH, tid, None, None)  # noqa: F821
                    return
            if self.born[pid] > SPAWNING:
                del self.born[pid]
        if operation == ENTRY and self.by_call:
            self.entered[tid] = arch, call, words
        if operation == ENTRY and self.kind == "syscall" and call == self.wanted:
            self.happened(tid, status, {"call": call}, holds=False)
        else:
            self.go(tid)

    def left_call(self, tid, status, result):
        """A call has returned: what was refused is told once, and then counted."""
        arch, call, words = self.entered.pop(tid, (0, -1, []))
        if not self.by_call or self.kind != "denial" or call < 0 or -result not in REFUSALS:
            self.go(tid)
            return
        pid = self.threads[tid]
        facts = facts_of(tid)
        told = self.wanted.get(str(call), {}) if arch == AUDIT[os.uname().machine] else {}
        path = self.text(pid, words[told["path"]]) if "path" in told else None
        what = path if path is not None else words[:2] if call in self.ask["exact"] else ""
        key = f"{call} {result} {what} {facts.get('Name')}"
        self.denied[key] = self.denied.get(key, 0) + 1
        if self.denied[key] > 1:
            self.go(tid)
            return
        why = {"call": call, "arch": arch, "words": words, "errno": -result, "key": key}
        why["facts"] = {name: facts.get(name, "") for name in ("Uid", "Gid", "CapEff", "CapBnd", "Seccomp_filters")}
        if path is not None and facts:
            folder = (
                struct.unpack("<i", struct.pack("<I", words[told["dir"]] & 0xFFFFFFFF))[0] if "dir" in told else -100
            )
            base = "" if folder == -100 else f"/proc/{pid}/fd/{folder}"  # AT_FDCWD
            mode = words[told["mode"]] if "mode" in told else 0
            flags = (4, 2, 6, 6)[mode & 3] | (8 if mode & os.O_CREAT else 0)
            want = {"w": 2, "x": 1, "mode": mode & 7, "flags": flags & 7}.get(told["want"], 0)
            creates = told["want"] == "flags" and flags & 8 and not self.there(pid, path, base)
            parent = told["want"] == "parent" or creates
            why |= {"path": path, "barrier": barrier(pid, facts, base, path, want, parent=parent)}
        self.happened(tid, status, why, holds=False)

    def there(self, pid, path, base):
        try:
            return os.path.lexists(resolved(pid, path, base))
        except (OSError, ValueError):
            return False

    def text(self, pid, address):
        """A string in the memory of a process that stands still; it says "" for one that cannot be read."""
        found = b""
        with contextlib.suppress(OSError, OverflowError), open(f"/proc/{pid}/mem", "rb", buffering=0) as memory:
            while b"\0" not in found and len(found) < PAGE:  # noqa: F821 - of prelude.py
                memory.seek(address + len(found))
                found += memory.read(256 - (address + len(found)) % 256)
        return os.fsdecode(found.split(b"\0")[0])

    def exits(self, tid, status):
        pid = self.threads[tid]
        word = ctypes.c_ulong()
        ptrace(GETEVENTMSG, tid, None, ctypes.addressof(word))  # noqa: F821
        _, group, single = CALL_NUMBER[os.uname().machine]
        made = self.call_of(tid)
        whole = made == group or (made == single and len(tasks(pid)) == 1)  # noqa: F821
        first = inner(facts_of(pid)) == 1
        if whole and word.value & 0x7F == 0 and (first or self.kind == "exit"):
            self.happened(tid, status, {"exit": word.value >> 8}, holds=True)
        else:
            self.go(tid)

    def call_of(self, tid):
        buffer = ctypes.create_string_buffer(1024)
        vector = IoVec(ctypes.addressof(buffer), len(buffer))  # noqa: F821
        if ptrace(GETREGSET, tid, NT_PRSTATUS, ctypes.addressof(vector)) != 0:  # noqa: F821
            return -1
        return struct.unpack_from("<q", buffer.raw, 8 * CALL_NUMBER[os.uname().machine][0])[0]

    def signalled(self, tid, status, number):
        information = ctypes.create_string_buffer(128)
        if ptrace(GETSIGINFO, tid, None, ctypes.addressof(information)) != 0:  # noqa: F821
            self.go(tid)
            return
        _, _, code = struct.unpack_from("<iii", information.raw)
        (address,) = struct.unpack_from("<Q", information.raw, 16)
        sender, _ = struct.unpack_from("<ii", information.raw, 16)
        facts = facts_of(tid)
        ends = bool(facts) and fatal(number, code, facts)
        first = bool(facts) and inner(facts_of(self.threads[tid])) == 1
        meant = {
            "crash": ends and number in CORES,
            "exit": ends,
            "signal": number == self.wanted,
            "restart": first and (ends or number in ENDING),
        }
        why = {"signal": number, "fatal": ends}
        why |= {"address": address} if code > 0 and code != 0x80 else {"sender": sender} if code <= 0 else {}
        if meant.get(self.kind):
            self.happened(tid, status, why, holds=ends)
        else:
            self.go(tid, number)

    def room(self):
        """Whether one more may be looked at now."""
        most = self.ask["count"] if self.kind == "denial" else HELD
        if len(self.victims) < most and self.caught + len(self.victims) < self.ask["count"]:
            return True
        self.passed += 1
        return False

    # The moment

    def happened(self, tid, status, why, *, holds):
        """Stop the rest of the process, copy it, and let it go unless it dies."""
        pid = self.threads[tid]
        if pid in self.fates or not self.room():
            self.go_on(tid, status)
            return
        victim = Victim(pid, tid, why, {tid: status}, holds=holds)
        self.victims.append(victim)
        self.halt(victim)
        try:
            copy = Copy(pid)  # noqa: F821
            names = named(pid)  # noqa: F821
            copy.prepare()
            copy.copy(victim.stops)
            os.close(copy.memory)
            victim.names = {each: names.get(each, "") for each in copy.registers}
            victim.inside = {each: inner(facts_of(each)) for each in copy.registers}
        except (OSError, ValueError) as error:
            copy, victim.error = None, str(error)
        victim.still = time.monotonic() - victim.since
        if not holds:
            self.release(victim)
        if copy is not None and copy.registers:
            victim.path = f"/tmp/caught.{pid}.{time.monotonic_ns()}"
            copy.save(victim.path)
        elif not victim.error:
            victim.error = "it is a 32-bit program, whose stacks only gdb itself reads"

    def halt(self, victim):
        """Stop the other threads; those that cannot stop, in the kernel, are `late`."""
        others = [tid for tid in tasks(victim.pid) if tid != victim.tid and tid in self.threads]  # noqa: F821
        for tid in others:
            ptrace(INTERRUPT, tid, None, None)  # noqa: F821
        end = time.monotonic() + STILL  # noqa: F821
        waiting = set(others)
        while waiting and time.monotonic() < end:
            for tid in list(waiting):
                try:
                    seen, status = os.waitpid(tid, os.WNOHANG | WALL)  # noqa: F821
                except ChildProcessError:
                    seen, status = tid, 0
                if seen and os.WIFSTOPPED(status):
                    victim.stops[tid] = status
                elif seen:
                    self.threads.pop(tid, None)
                waiting -= {tid} if seen else set()
            if waiting:
                signal.sigtimedwait([signal.SIGCHLD], 0.002)
        victim.late = sorted(waiting)

    def release(self, victim):
        """Let all threads go on as they would have; PID 1 of the container is let go of: see above."""
        stops, victim.stops = victim.stops, {}
        free = victim.holds and victim.inner == 1
        for tid, status in sorted(stops.items(), key=lambda each: each[0] == victim.tid):
            if free:
                self.threads.pop(tid, None)
                ptrace(DETACH, tid, None, self.number(status) or None)  # noqa: F821
            elif victim.holds or tid == victim.tid:
                self.go_on(tid, status)
            else:
                self.stopped(tid, status)  # whatever it stopped for meanwhile
        if free:
            for tid in victim.late:
                self.threads.pop(tid, None)

    def number(self, status):
        """The signal that a thread stands before the delivery of, or 0."""
        number = os.WSTOPSIG(status)
        return 0 if status >> 16 or number == AT_CALL else number

    def go_on(self, tid, status):
        self.go(tid, self.number(status))

    def proceed(self):
        """Unwind what was copied, tell it, and let die what stands still for that."""
        working = {each.unwinder for each in self.victims if each.unwinder > 0}
        for victim in list(self.victims):
            limit = self.ask["hold"] if victim.holds else PATIENT
            over = time.monotonic() - victim.since > limit
            if victim.unwinder == 0 and victim.path and len(working) < UNWINDERS and not over:
                working.add(self.unwind(victim))
            elif victim.unwinder > 0 and over:
                os.kill(victim.unwinder, signal.SIGKILL)
                victim.error = f"unwinding took longer than {limit:g} s"
            elif victim.unwinder == -1 or victim.error or over:
                self.finish(victim)

    def unwind(self, victim):
        """Start a gdb for it, and for what else waits of its process; the gdb's PID."""
        mates = [each for each in self.victims if each.pid == victim.pid and each.path and not each.unwinder]
        mates = [victim] if victim.holds else [each for each in mates if not each.holds][:TOGETHER]
        question = {"pid": victim.pid, "cores": {each.path: each.names for each in mates}, "variables": True}
        question |= {"py-spy": self.ask["py-spy"], "interpreted": len(mates) == 1}
        code = f"{SOURCE}\nunwind({question!r})\n"  # noqa: F821 - the text of all this
        settings = [each.replace("/proc/1/", f"/proc/{victim.pid}/") for each in self.ask["gdb"]]
        words = [*settings, "-ex", f"python exec({code!r}, {{'__name__': 'debugrun'}})"]
        nowhere = [(os.POSIX_SPAWN_OPEN, number, os.devnull, os.O_WRONLY, 0) for number in (1, 2)]
        unwinder = os.posix_spawnp(words[0], words, os.environ, file_actions=nowhere, setsigmask=[])
        for each in mates:
            each.unwinder = unwinder
        return unwinder

    def finish(self, victim):
        """Tell what is known, and let go."""
        self.victims.remove(victim)
        self.caught += 1
        found = {"threads": [], "error": victim.error or "the unwinder said nothing"}
        with contextlib.suppress(OSError, ValueError), open(f"{victim.path}.json", "rb") as file:
            found = json.loads(file.read())
        for ending in ("", ".json"):
            with contextlib.suppress(OSError):
                os.unlink(f"{victim.path}{ending}")
        python = found.get("python") or []
        for each, key in (
            *((one, "tid") for one in found.get("threads", ())),
            *((one, "os_thread_id") for one in python),
        ):
            if isinstance(each, dict) and each.get(key) in victim.inside:
                each[key] = victim.inside[each[key]]
        held = time.monotonic() - victim.since if victim.holds else victim.still
        facts = facts_of(victim.pid)
        if victim.why.get("fatal"):
            self.fates[victim.pid] = victim.inner
        tell(
            event="caught", why=victim.why, tid=victim.inside.get(victim.tid, victim.tid), name=facts.get("Name", ""),
            process={**found, "pid": victim.inner, "still": held, "late": victim.late}, **self.counted(),
        )  # fmt: skip
        if victim.holds:
            self.release(victim)

    def counted(self):
        return {"stops": self.stops, "handled": self.handled, "passed": self.passed}

    def run(self):
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGCHLD])
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, self.end)
        while not self.ended and self.caught < self.ask["count"]:
            self.turn()
            self.look()
        self.by_call, deadline = False, time.monotonic() + (PATIENT if self.kind == "denial" else 1.0)
        while time.monotonic() < deadline and (self.fates or (self.kind == "denial" and self.victims)):
            self.turn()
        tell(event="end", denied=self.denied, **self.counted())

    def turn(self):
        self.drain()
        self.proceed()
        signal.sigtimedwait([signal.SIGCHLD], self.ask["tick"])

    def end(self, _number, _frame):
        """A second time we die of it: the kernel lets all go on in either case."""
        self.ended = True
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_DFL)

    def look(self):
        """Find new processes, where the kernel says that some were born: proc_loadavg(5)."""
        with open("/proc/loadavg", encoding="ascii") as file:
            newest = file.read().split()[-1]
        now = time.monotonic()
        if newest != self.newest or self.left or now - self.looked > RARELY:
            self.newest, self.looked = newest, now
            self.scan()
        if self.first and (self.threads or self.ask["across"]):
            tell(event="ready")
            self.first = False


def unwind(question):
    """In a gdb of its own: the stacks of core files of a process, each as JSON beside it."""
    for path, names in question["cores"].items():
        answer = {}
        try:
            answer["threads"] = threads_of(question["pid"], path, names, question)  # noqa: F821
            if question["interpreted"]:
                answer["python"] = interpreted(question["pid"], question["py-spy"])  # noqa: F821
        except (OSError, RuntimeError, ValueError) as error:
            answer["error"] = str(error)
        fd = os.open(f"{path}.json", os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with open(fd, "w", encoding="utf-8") as file:
            json.dump(answer, file)


def use(pid):
    """(clock ticks used, how often its threads were put on a processor): proc_pid_stat(5), proc_pid_status(5)."""
    ticks = switches = 0
    for tid in tasks(pid):  # noqa: F821
        with contextlib.suppress(OSError, IndexError, ValueError), open(f"/proc/{pid}/task/{tid}/stat", "rb") as file:
            words = file.read().rpartition(b")")[2].split()
            ticks += int(words[11]) + int(words[12])
        facts = facts_of(f"{pid}/task/{tid}")
        switches += int(facts.get("voluntary_ctxt_switches", 0)) + int(facts.get("nonvoluntary_ctxt_switches", 0))
    return ticks, switches


def attend(question):
    """Attached to nobody until a process has been busy, or has not run, for so long; then its stacks as any other's."""
    watch, limit, found, before = Watch(question), question["argument"], 0, {}
    tell(event="ready")
    while found < question["count"]:
        time.sleep(0.25 if question["on"] == "stuck" else 1)
        now, after = time.monotonic(), {}
        for pid in [int(name) for name in os.listdir("/proc") if name.isdigit()]:
            if not watch.member(pid) or facts_of(pid).get("State", "Z")[0] in "ZX":
                continue
            ticks, switches = use(pid)
            at, used, ran = before.get(pid, (now, ticks, switches))
            busy = question["on"] == "cpu" and pid in before
            share = 100 * (ticks - used) / os.sysconf("SC_CLK_TCK") / (now - at) if busy else 0
            moved = (used, ran) != (ticks, switches)
            after[pid] = (now, ticks, switches) if question["on"] == "cpu" or moved else (at, used, ran)
            stuck = question["on"] == "stuck" and now - after[pid][0] >= limit
            if (busy and share > limit) or stuck:
                (answer,) = one([pid], question)  # noqa: F821
                signal.setitimer(signal.ITIMER_REAL, 0)
                facts = facts_of(pid)
                why = {"cpu": round(share)} if busy else {"stuck": now - at}
                process = {**answer, "pid": inner(facts) if facts else pid}
                tell(event="caught", why=why, tid=pid, name=facts.get("Name", ""), process=process)
                found += 1
                after.pop(pid)
                if found >= question["count"]:
                    break
        before = after
    tell(event="end")


def catch(question):
    """Answer {"on", "argument", "pid" or 0, "container", "across", "count", "hold", "tick", "gdb", "py-spy"}."""
    if question["on"] in {"cpu", "stuck"}:
        attend(question)
    else:
        Watch(question).run()
