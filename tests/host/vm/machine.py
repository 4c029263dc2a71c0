"""Boots the test machine under QEMU, gives it a job, and hands over what the job says line by line.

Nothing is shared with this machine: no network, no file system; the disk is never written (a throw-away overlay).
"""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from tests.host.state import HostError, folder
from tests.host.vm.disk import Disk, say

QEMU = "qemu-system-x86_64"
PROGRAMS = {QEMU: "qemu-system-x86", "mke2fs": "e2fsprogs"}  # and the Debian packages that bring them
MEMORY = "3G"
NICE = 10
PROBE = 20.0  # seconds that a machine has to start a kernel by KVM: with it, two are enough
BOOTS_WITHIN = 240.0  # seconds to the job's first line; a quiet host takes 20, 30 when it emulates
SILENT = 900.0  # seconds without a line after which a job hangs
END = "debugrun: ended with "


class HungError(HostError):
    """The machine did not start its job."""


def run(
    disk: Disk, job: Mapping[str, bytes], take: Callable[[str], None], *, within: float, parameters: str = ""
) -> int:
    """Run `job` (files by path, `run` is its shell script) and give each line of its output to `take`.

    `parameters` are more words for the kernel's command line.
    The exit status of `run`. A machine that hangs before its job's first line is started once more. Raises HostError.
    """
    accelerator = accelerate(disk)
    say(f"starting the machine ({'KVM' if 'kvm' in accelerator else 'emulated: no usable KVM here'})")
    try:
        return _boot(disk, accelerator, job, take, within, parameters)
    except HungError as error:
        say(f"{error}; starting it again")
        return _boot(disk, accelerator, job, take, within, parameters)


def programs() -> None:
    """Have the programs that make and start a machine, installed by apt where root may. Raises HostError."""
    os.environ["PATH"] = f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin"
    missing = sorted(package for program, package in PROGRAMS.items() if not shutil.which(program))
    if not missing:
        return
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        raise HostError(f"what makes a virtual machine is missing; try: sudo apt-get install {' '.join(missing)}")
    say(f"installing {' and '.join(missing)}")
    apt = ["apt-get", "-qq", "-o", "DPkg::Lock::Timeout=120"]
    install = [*apt, "install", "--yes", "--no-install-recommends", *missing]
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for command in (install, [*apt, "update"], install):
        done = subprocess.run(command, capture_output=True, check=False, stdin=subprocess.DEVNULL, env=environment)
        if command is install and done.returncode == 0:
            return
    raise HostError(f"{' '.join(missing)} could not be installed: {done.stderr.decode(errors='replace')[-300:]}")


def accelerate(disk: Disk) -> tuple[str, ...]:
    """QEMU's options for the processor: KVM where a kernel starts with it, else emulation.

    /dev/kvm alone proves nothing: inside a virtual machine it may be there without the processor's support, and then
    a guest starts, at the speed of an interpreter, and hangs.
    """
    # One processor: kernels patch their own code (perf does it at each use), and what one emulated processor patches
    # while another runs it ended in a kernel panic (QEMU 7.2).
    emulated = ("-accel", "tcg", "-cpu", "max", "-smp", "1")
    flags = set(Path("/proc/cpuinfo").read_text().split())
    if flags.isdisjoint({"vmx", "svm"}) or not os.access("/dev/kvm", os.R_OK | os.W_OK):
        return emulated
    by_kvm = ("-accel", "kvm", "-cpu", "host", "-smp", "2")
    with tempfile.TemporaryDirectory(prefix="debugrun-vm.") as scratch:
        console = Path(scratch) / "console"
        command = [*_frame(disk, by_kvm, "debugrun.probe"), "-serial", f"file:{console}"]
        try:
            subprocess.run(command, capture_output=True, check=False, timeout=PROBE, stdin=subprocess.DEVNULL)
        except subprocess.TimeoutExpired:
            return emulated
        works = console.exists() and b"debugrun: it works" in console.read_bytes()
    return by_kvm if works else emulated


def _frame(disk: Disk, accelerator: tuple[str, ...], append: str = "") -> list[str]:
    return [
        *("setpriv", "--pdeathsig", "KILL", "nice", "-n", str(max(0, NICE - os.nice(0)))),
        *(QEMU, *accelerator, "-machine", "q35", "-m", MEMORY),
        *("-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"),
        *("-kernel", str(disk.kernel), "-initrd", str(disk.initrd)),
        *("-append", f"console=ttyS0 quiet panic=-1 mitigations=off {append}"),
    ]


def _drive(path: Path, *words: str) -> Iterator[str]:
    yield from ("-drive", ",".join((f"file={path}", "format=raw", "if=virtio", "cache=unsafe", *words)))


def _boot(  # noqa: PLR0913, PLR0917 - what a machine is started with
    disk: Disk,
    accelerator: tuple[str, ...],
    job: Mapping[str, bytes],
    take: Callable[[str], None],
    within: float,
    parameters: str,
) -> int:
    with tempfile.TemporaryDirectory(prefix="debugrun-vm.", dir=folder()) as scratch:
        place = Path(scratch)
        _pack(job, place / "job")
        output, console = place / "output", place / "console"
        output.touch()
        command = [
            *_frame(disk, accelerator, parameters),
            *("-device", "virtio-rng-pci", "-serial", f"file:{console}", "-serial", f"file:{output}"),
            *_drive(disk.image, "snapshot=on"),
            *_drive(place / "job", "readonly=on"),
        ]
        environment = {**os.environ, "TMPDIR": scratch}  # for the overlay
        with (place / "log").open("wb") as log:
            process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment, start_new_session=True
            )
            try:
                return _follow(process, output, take, within)
            except HostError as error:
                said = (place / "log").read_text(errors="replace") + console.read_text(errors="replace")
                tail = "\n".join(said.splitlines()[-15:])
                raise type(error)(f"{error}; the machine's console:\n{tail}") from error
            finally:
                process.kill()
                process.wait()


def _pack(job: Mapping[str, bytes], path: Path) -> None:
    with tarfile.open(path, "w") as tar:
        for name, content in job.items():
            info = tarfile.TarInfo(name)
            info.size, info.mode = len(content), 0o644
            tar.addfile(info, io.BytesIO(content))
    path.write_bytes(path.read_bytes().ljust((path.stat().st_size + 511) // 512 * 512, b"\0"))  # whole sectors


def _follow(process: subprocess.Popen[bytes], output: Path, take: Callable[[str], None], within: float) -> int:
    """The lines as they come, until the last one."""
    began = heard = time.monotonic()
    rest = ""
    with output.open(encoding="utf-8", errors="replace", newline="\n") as lines:
        while True:
            ended = process.poll() is not None
            now = time.monotonic()
            for line in lines:
                rest += line
                if not rest.endswith("\n"):
                    continue
                complete, rest = rest.rstrip("\r\n"), ""
                heard = now
                if complete.startswith(END):
                    return int(complete.removeprefix(END))
                take(complete)
            if ended:
                raise HostError("the machine went down before its job was done")
            if heard == began and now - began > BOOTS_WITHIN:
                raise HungError(f"the machine did not start its job within {BOOTS_WITHIN:.0f} s")
            if now - heard > SILENT and heard != began:
                raise HostError(f"the job said nothing for {SILENT:.0f} s")
            if now - began > within:
                raise HostError(f"the job was not done within {within:.0f} s")
            time.sleep(0.2)
