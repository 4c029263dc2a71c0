"""What a tool may ask of the kernel: the words that tool files use for it."""

from __future__ import annotations

# The closed vocabulary of gates; debugrun.core.rules.kernel holds the rule of each.
GATES = frozenset(
    {
        "ptrace-attach",  # PTRACE_MODE_ATTACH on the target
        "ptrace-read",  # PTRACE_MODE_READ on the target: /proc/PID/{exe,cwd,root}, /proc/PID/fd/*
        "proc-maps-read",  # read /proc/PID/{maps,smaps,pagemap}; with proc-mem-read also environ and auxv
        "ptrace-access",  # access(2) of /proc/PID/exe: by the real uid
        "proc-mem-read",  # open /proc/PID/{mem,auxv,environ} for reading
        "proc-mem-write",  # open /proc/PID/mem read-write
        "memory-write",  # the same, or by ptrace where the tool can't open its own /proc/self/mem: as gdb does
        "text-write",  # write the target's read-only pages, its code: breakpoints
        "proc-auxv-read",  # open /proc/PID/auxv: where the program and its loader lie
        "signal",  # kill(2) the target
        "perf-user",  # perf_event_open on the target, user space only
        "perf-kernel",  # perf_event_open on the target, kernel samples included
        "perf-system",  # perf_event_open on whole CPUs
        "kernel-symbols",  # addresses in /proc/kallsyms
        "packet-socket",  # socket(AF_PACKET) in the target's network namespace
        "set-ids",  # setuid(2), setgid(2), setgroups(2)
        "proc-fd-read",  # list /proc/PID/fd
        "perf-own",  # perf_event_open on a program of its own
        "perf-own-kernel",  # the same, kernel samples included
        "ptrace-child",  # trace a program that it starts itself
        "bpf",  # load BPF programs that trace
        "tracefs",  # a mounted tracefs: tracepoints and probes by name
        "same-uid",  # be of the target's uid and gid, or become so, and as such look below /proc/PID/root
        "own-userns",  # become root in a new user namespace
        "root",  # be uid 0: the tool itself asks
        "gpu-counters",  # the performance counters of an NVIDIA GPU
        "syscall",  # seccomp only
    }
)
# Needs of a tool that looks at the network and not at the process.
ELSEWHERE = frozenset({"packet-socket", "set-ids"})
