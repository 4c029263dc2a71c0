"""`debugrun core`: a core file of a process that goes on."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from debugrun.cli.options import Container, KubernetesContext, MaxGrant, Namespace, Pid, finite, interruptible
from debugrun.core.ask.request import ceiling
from debugrun.oncall import core as flow
from debugrun.toolbox import catalog

Output = Annotated[Path, typer.Option("--output", "-o", metavar="FILE", help="the core file, with holes, mode 0600")]
Zstd = Annotated[bool, typer.Option("--zstd", help="compress both files, by the program zstd of this machine")]
Pause = Annotated[
    float,
    typer.Option(
        "--max-pause",
        metavar="SECONDS",
        min=0.01,
        max=15,
        callback=finite,
        help="give up when the process would stand still for longer",
    ),
]
NoBundle = Annotated[
    bool, typer.Option("--no-bundle", help="do not write FILE.bundle, which holds the program and its libraries")
]


@interruptible
def core(  # noqa: PLR0913 - each is an option of the command line
    *,
    container: Container,
    output: Output,
    pid: Pid = None,
    zstd: Zstd = False,
    no_bundle: NoBundle = False,
    max_pause: Pause = 5,
    max_grant: MaxGrant = "seccomp",
    namespace: Namespace = None,
    kubernetes_context: KubernetesContext = None,
) -> None:
    r"""Copy a running process into a core file here; it goes on. FILE.bundle holds the program and its libraries.

    It stands still while its memory is copied into the sidecar's, and how long is printed. Nothing is written on the
    container's disk. Refused where the machine has no room for the copy.

    \b
    debugrun core web 7 -o web.core
    debugrun core web -o web.core.zst --zstd

    Exit status: 0; 125 when a thread or a file is missing.
    """
    wish = flow.Wish(
        container=container,
        output=output,
        pid=pid,
        bundle=not no_bundle,
        zstd=zstd,
        pause=max_pause,
        ceiling=ceiling(max_grant, "sidecar"),
        namespace=namespace,
        kubernetes_context=kubernetes_context,
    )
    raise typer.Exit(flow.run(wish, catalog.user_directory()))
