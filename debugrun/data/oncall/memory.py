"""Say what the memory of processes is made of, from /proc/PID/smaps; print it as one JSON object.

Nobody is stopped, nothing is written. argv[1] is JSON: {"pids": [as we see them]}. proc_pid_smaps(5).
The target is not trusted: of a list of mappings that does not end only the first are read, and that is said.
"""

from __future__ import annotations

import json
import os
import re
import sys

MAPPINGS = 50_000
LARGEST = 8  # mappings that are named
HEAD = re.compile(r"^[0-9a-f]+-[0-9a-f]+ (\S+) \S+ \S+ \d+ *(.*)$")
FIELD = re.compile(r"^(\w+): +(\d+) kB$")
WANTED = {"Size": "size", "Rss": "rss", "Pss": "pss", "Swap": "swap", "Private_Dirty": "private"}
RUNTIMES = (
    ("python", r"/(lib)?python[\d.]+(\.so[\d.]*)?$"),
    ("jvm", r"/libjvm\.so$"),
    ("node", r"/(node|nodejs|libnode\.so[\d.]*)$"),
)


KINDS = (
    ("[heap]", "heap"),
    ("[stack", "stack"),
    ("/dev/shm/", "shared memory"),  # noqa: S108 - the name of a mapping
    ("/SYSV", "shared memory"),
    ("/memfd:", "shared memory"),
    ("/dev/zero", "shared memory"),
    ("/dev/", "devices"),
)


def kind(mode, name):
    known = next((which for start, which in KINDS if name.startswith(start)), None)
    if known:
        return known
    if name.startswith("/"):
        return "program and libraries" if "x" in mode or ".so" in name else "mapped files"
    if name and not name.startswith("[anon"):
        return "of the kernel"
    return "generated code" if "x" in mode else "anonymous"


def read(pid):
    kinds, largest, runtimes, count = {}, [], set(), 0
    programs = set()
    with open(f"/proc/{pid}/smaps", encoding="utf-8", errors="surrogateescape") as text:
        each = None
        for line in text:
            if found := HEAD.match(line):
                if each:
                    largest = sorted([*largest, each], key=lambda one: -one["rss"])[:LARGEST]
                count += 1
                if count > MAPPINGS:
                    break
                mode, name = found.groups()
                if "x" in mode and name.startswith("/"):
                    programs.add(name)
                runtimes |= {runtime for runtime, rule in RUNTIMES if re.search(rule, name)}
                which = "program and libraries" if name in programs else kind(mode, name)
                total = kinds.setdefault(which, {"count": 0, **dict.fromkeys(WANTED.values(), 0)})
                total["count"] += 1
                each = {"name": name, "kind": which, "rss": 0}
            elif (found := FIELD.match(line)) and found[1] in WANTED and each:
                amount = int(found[2]) << 10
                total[WANTED[found[1]]] += amount
                if found[1] == "Rss":
                    each["rss"] = amount
    if each:
        largest = sorted([*largest, each], key=lambda one: -one["rss"])[:LARGEST]
    cut = count > MAPPINGS
    return {"pid": pid, "kinds": kinds, "largest": largest, "runtimes": sorted(runtimes), "mappings": count, "cut": cut}


def main(question):
    answers = []
    for pid in question["pids"]:
        try:
            answers.append(read(pid))
        except OSError as error:
            answers.append({"pid": pid, "error": os.strerror(error.errno)})
    json.dump({"schema": 1, "processes": answers}, sys.stdout)


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
