"""Commands of a tool file as a person would type them: without what we bring along."""

from __future__ import annotations

# What is typed where our own way to attach is not at hand.
PLAINLY = {
    "{lldb-attach}": ("-p", "{pid}"),
    "{delve-attach}": ("dlv", "attach", "{pid}"),
    "{gdb-attached}": (),
    "{gdbserver-files}": (),
}
CAPABILITY_COPIES = "/usr/lib/debugrun/caps"  # folder of the toolbox: copies of tools that carry capabilities
ROOT_COPIES = "/usr/lib/debugrun/root"  # and programs that stay closed to a target that may read all files
ROOT_ENVIRONMENT = {
    "PATH": f"{ROOT_COPIES}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "SHELL": f"{ROOT_COPIES}/sh",  # which gdb starts
}


def as_typed(words: tuple[str, ...]) -> tuple[str, ...]:
    """A command of a tool file as a person would type it, but for {pid} and {args}: without what we bring along."""
    typed = (PLAINLY.get(word, (word,)) for word in words)
    return tuple(word for part in typed for word in part if word in {"{pid}", "{args}"} or not word.startswith("{"))
