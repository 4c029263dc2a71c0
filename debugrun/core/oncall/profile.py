"""A CPU profile: what `perf script` printed as counted stacks, and the files that other programs read. Pure."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping

from debugrun.values import dataclass

# One sample of `perf script -F comm,pid,tid,ip,sym,dso`: a line that names the thread, frames, an empty line.
_THREAD = re.compile(r"^(?P<comm>\S.*?|)\s+(?P<pid>-?\d+)/(?P<tid>-?\d+)\s*:?\s*$")
_FRAME = re.compile(
    r"^\s+(?P<address>[0-9a-f]+)\s(?P<function>.*)\s\((?P<module>[^()]*(?:\([^()]*\))?)\)(?:\s+\(inlined\))?$"
)
UNKNOWN = "[unknown]"
DEPTH = 250  # of a picture: perf-record(1) takes 127 frames at most, but a file to compare with may hold anything
# A map of code made at run time; what `perf inject` makes of one; an address in no file.
_GENERATED = re.compile(r"^(?:perf-\d+\.map|\[JIT\] tid \d+|jitted-\d+-\d+\.so|//anon)$")
_INTERPRETERS = re.compile(r"^(?:lib)?(?:python|node|java|jvm|ruby|perl|php)[\d.]*(?:\.so)?[\d.]*$")
_LIBC = re.compile(r"^(?:libc|libm|libpthread|ld-linux[\w-]*|ld-musl[\w-]*|libstdc\+\+|libgcc_s)[.-][\w.]*$")


@dataclass(frozen=True, slots=True)
class Frame:
    """A function and the file that holds it, by its last name; "" is not known."""

    function: str
    module: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Profile:
    """How often each stack was seen. A stack is (thread's name, frames from the outermost on)."""

    stacks: Mapping[tuple[str, tuple[Frame, ...]], int]

    @property
    def total(self) -> int:
        """All samples."""
        return sum(self.stacks.values())

    @property
    def unresolved(self) -> int:
        """Samples whose innermost function has no name."""
        return sum(count for (_, frames), count in self.stacks.items() if not frames or frames[-1].function == UNKNOWN)

    @property
    def has_kernel(self) -> bool:
        """Whether a frame of the kernel is among them."""
        return any(kind(frame.module) == "kernel" for _, frames in self.stacks for frame in frames)


def parse(printed: str) -> Profile:
    """What `perf script` printed. A line that is neither a thread nor a frame is left out."""
    stacks: Counter[tuple[str, tuple[Frame, ...]]] = Counter()
    thread: str | None = None
    frames: list[Frame] = []
    for line in [*printed.split("\n"), ""]:
        if not line.strip():
            if thread is not None:
                stacks[thread, tuple(reversed(frames))] += 1
            thread, frames = None, []
        elif thread is None:
            matched = _THREAD.match(line)
            thread = matched["comm"] if matched else None
        elif found := _FRAME.match(line):
            function = found["function"].partition("+0x")[0] if found["function"] != UNKNOWN else UNKNOWN
            frames.append(Frame(function or UNKNOWN, found["module"].rpartition("/")[2]))
    return Profile(stacks=dict(stacks))


def kind(module: str) -> str:
    """Which colour a module has: kernel, libc, interpreter, generated, unknown or target."""
    if module in {"[kernel.kallsyms]", "[kernel]", "[guest.kernel.kallsyms]"} or module.endswith("].ko"):
        return "kernel"
    if module in {"", UNKNOWN}:
        return "unknown"
    rules = (("generated", _GENERATED), ("libc", _LIBC), ("interpreter", _INTERPRETERS))
    return next((name for name, rule in rules if rule.match(module)), "target")


def hottest(profile: Profile) -> list[tuple[Frame, int]]:
    """Functions by the samples in which they were the innermost, the hottest first."""
    counts: Counter[Frame] = Counter()
    for (_, frames), count in profile.stacks.items():
        counts[frames[-1] if frames else Frame(UNKNOWN, "")] += count
    return sorted(counts.items(), key=lambda item: (-item[1], item[0].function))


def folded(profile: Profile) -> str:
    """A line for each stack, `thread;outer;...;inner COUNT`, as flamegraph.pl, inferno and speedscope read it."""
    lines: Counter[str] = Counter()
    for (thread, frames), count in profile.stacks.items():
        lines[";".join(_plain(each) for each in (thread, *(frame.function for frame in frames)))] += count
    return "".join(f"{line} {count}\n" for line, count in sorted(lines.items()))


def _plain(name: str) -> str:
    return re.sub(r"[;\s]+", lambda found: ":" if ";" in found[0] else " ", name) or UNKNOWN


def speedscope(profile: Profile, name: str) -> str:
    """A file of speedscope's: https://www.speedscope.app/file-format-schema.json, type "sampled", unit none."""
    index: dict[Frame, int] = {}
    samples, weights = [], []
    for (thread, frames), count in profile.stacks.items():
        whole = (Frame(thread, ""), *frames)
        samples.append([index.setdefault(frame, len(index)) for frame in whole])
        weights.append(count)
    shared = [{"name": frame.function, **({"file": frame.module} if frame.module else {})} for frame in index]
    sampled = {
        "type": "sampled", "name": name, "unit": "none", "startValue": 0, "endValue": profile.total,
        "samples": samples, "weights": weights,
    }  # fmt: skip
    schema = "https://www.speedscope.app/file-format-schema.json"
    return json.dumps({"$schema": schema, "shared": {"frames": shared}, "profiles": [sampled], "exporter": "debugrun"})


@dataclass(kw_only=True, slots=True)
class Node:
    """A function below its callers: `count` samples with it, of which `before` in the profile compared with."""

    frame: Frame
    count: int
    before: int
    children: dict[Frame, Node]


def tree(profile: Profile, before: Profile | None = None) -> Node:
    """All stacks as one tree; `before` is another profile to compare with, scaled to the same number of samples."""
    root = Node(frame=Frame("all", ""), count=0, before=0, children={})
    _grow(root, profile.stacks.items(), 1.0, compared=False)
    if before is not None and before.total:
        _grow(root, before.stacks.items(), profile.total / before.total, compared=True)
    return root


def _grow(
    root: Node, stacks: Iterable[tuple[tuple[str, tuple[Frame, ...]], int]], scale: float, *, compared: bool
) -> None:
    for (thread, frames), count in stacks:
        amount = round(count * scale)
        node = root
        for frame in (None, Frame(thread, ""), *frames[:DEPTH]):
            if frame is not None:
                if frame not in node.children:
                    node.children[frame] = Node(frame=frame, count=0, before=0, children={})
                node = node.children[frame]
            if compared:
                node.before += amount
            else:
                node.count += amount


def as_data(node: Node) -> list[object]:
    """A node for the picture: [function, module, kind, samples, samples before, children]."""
    root: list[object] = []
    waiting: list[tuple[Node, list[object]]] = [(node, root)]
    while waiting:
        each, into = waiting.pop()
        children: list[list[object]] = []
        which = "thread" if not each.frame.module and each is not node else kind(each.frame.module)
        into += [each.frame.function, each.frame.module, which, each.count, each.before, children]
        for child in sorted(each.children.values(), key=lambda one: one.frame.function):
            told: list[object] = []
            children.append(told)
            waiting.append((child, told))
    return root


def unfolded(text: str) -> Profile:
    """A profile of folded lines, which have no modules. Raises ValueError: a line is none."""
    stacks: Counter[tuple[str, tuple[Frame, ...]]] = Counter()
    for line in text.splitlines():
        stack, _, count = line.rpartition(" ")
        if not stack or not count.isdecimal():
            raise ValueError(f"not a folded stack: {line[:60]!r}")
        thread, *functions = stack.split(";")
        stacks[thread, tuple(Frame(name, "") for name in functions)] += int(count)
    return Profile(stacks=dict(stacks))
