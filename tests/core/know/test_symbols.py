from __future__ import annotations

import ast
import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from debugrun.core.know import symbols
from tests import TESTS

PRELUDE = TESTS.parent / "debugrun/data/gdb/prelude.py"


def load_prelude() -> ModuleType:
    spec = importlib.util.spec_from_file_location("prelude", PRELUDE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


prelude = load_prelude()


def settings(pid: int, *, with_prelude: bool) -> list[str]:
    """What gdb is told, by -iex; the flags before it are checked where they matter."""
    words = symbols.gdb_arguments(pid, prelude=with_prelude)
    first = words.index("-iex")
    assert set(words[first::2]) == {"-iex"}
    return list(words[first + 1 :: 2])


def in_python(code: str, *args: str) -> str:
    """What `code` prints in a Python of its own that has loaded the prelude as `p`."""
    load = f"import importlib.util as u, os, sys; s = u.spec_from_file_location('p', {str(PRELUDE)!r})\n"
    load += "p = u.module_from_spec(s); s.loader.exec_module(p)\n"
    done = subprocess.run([sys.executable, "-c", load + code, *args], capture_output=True, text=True, check=True)
    assert done.stderr == ""
    return done.stdout.strip()


def test_gdb_is_told_to_trust_nothing_before_it_is_told_where_the_files_are() -> None:
    given_settings = settings(7, with_prelude=False)
    where = given_settings.index("set sysroot /proc/7/root")
    for fence in (
        "set auto-load no",
        "set auto-load safe-path $datadir/auto-load",
        "set libthread-db-search-path $sdir",
        "set debuginfod enabled off",
    ):
        assert given_settings.index(fence) < where


def test_no_init_file_is_read() -> None:
    assert "-nx" in symbols.gdb_arguments(1)


def test_without_the_prelude_no_python_runs() -> None:
    assert not [text for text in settings(7, with_prelude=False) if text.startswith("python")]


def test_the_prelude_is_one_command_of_one_line_that_ends_with_its_call() -> None:
    *plain, command = settings(7, with_prelude=True)
    assert plain == settings(7, with_prelude=False)
    assert "\n" not in command
    call = ast.parse(command.removeprefix("python "), mode="eval").body
    assert isinstance(call, ast.Call)
    source = ast.literal_eval(call.args[0])
    assert source.startswith(PRELUDE.read_text())
    assert source.endswith("\nprepare(7)\n")
    compile(source, "prelude", "exec")


def test_mappings_keep_spaces_newlines_and_the_mark_of_a_removed_file() -> None:
    text = (
        b"55f0c0de1000-55f0c0de2000 r-xp 00001000 fe:00 1311      /opt/a b/prog\n"
        b"7f0000000000-7f0000001000 r--p 00000000 fe:00 1312      /lib/new\\012line.so\n"
        b"7f0000002000-7f0000003000 r--p 00000000 fe:00 1313      /lib/gone.so (deleted)\n"
        b"7f0000004000-7f0000005000 rw-p 00000000 00:00 0 \n"
        b"7ffd00000000-7ffd00001000 r-xp 00000000 00:00 0         [vdso]\n"
    )
    assert prelude.mappings(text) == [
        (0x55F0C0DE1000, 0x55F0C0DE2000, 0x1000, "/opt/a b/prog"),
        (0x7F0000000000, 0x7F0000001000, 0, "/lib/new\nline.so"),
        (0x7F0000002000, 0x7F0000003000, 0, "/lib/gone.so (deleted)"),
    ]


def test_the_kernel_walks_where_realpath_gives_up() -> None:
    code = (
        "root = p.hidden_from_realpath(os.getpid()) + '/root'\n"
        "print(os.path.samefile(root + sys.executable, sys.executable))\n"
        "try: print(os.path.realpath(root + sys.executable, strict=True))\n"
        "except FileNotFoundError: print('no realpath')\n"
    )
    assert in_python(code).splitlines() == ["True", "no realpath"]


def test_libraries_of_an_unchanged_process_are_all_found_under_their_own_names() -> None:
    names = in_python(
        "real, lost = p.libraries(os.getpid(), [''])\nprint(lost, *(n for n, to in real.items() if (n, n) == to))"
    )
    lost, *found = names.split()
    assert lost == "[]"
    assert any("libc.so" in name or "ld-" in name for name in found)


@pytest.fixture
def library(tmp_path: Path) -> Path:
    """A shared library of our own to do things to: a copy of one that Python brings."""
    module = importlib.util.find_spec("_ctypes")
    if module is None or not (module.origin or "").endswith(".so"):
        pytest.skip("this Python has ctypes built in; any Python with shared extension modules runs this")
    return Path(shutil.copy(module.origin or "", tmp_path / "libours.so"))


@pytest.mark.parametrize("change", ["os.remove(f)", "os.remove(f); open(f, 'wb').write(b'another')"])
def test_a_library_that_changed_on_disk_is_lost(library: Path, change: str) -> None:
    code = f"import ctypes; f = sys.argv[1]; ctypes.CDLL(f); {change}; print(p.libraries(os.getpid(), [''])[1])"
    assert ast.literal_eval(in_python(code, str(library))) == [str(library)]


def test_a_library_that_was_moved_away_is_found_where_it_is_now(library: Path) -> None:
    code = "import ctypes; f = sys.argv[1]; ctypes.CDLL(f); os.rename(f, f + '.old'); open(f, 'wb').write(b'another')\n"
    assert in_python(code + "print(p.libraries(os.getpid(), [''])[0][f][1])", str(library)) == f"{library}.old"


def test_a_library_behind_a_link_that_leads_astray_is_found_by_what_is_mapped(library: Path) -> None:
    link = library.with_name("link.so")
    link.symlink_to(library)
    code = (
        "import ctypes; link, f = sys.argv[1:]; ctypes.CDLL(link); os.remove(link); open(link, 'wb').write(b'other')\n"
        "print(p.libraries(os.getpid(), [''])[0][link][1])"
    )
    assert in_python(code, str(link), str(library)) == str(library)


def test_a_pipe_in_the_place_of_a_library_does_not_block(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.so")
    assert prelude.first_page(str(tmp_path / "pipe.so")) == b""


@given(name=st.text(st.sampled_from("ab./ \n"), min_size=1, max_size=24).map(lambda text: "/" + text))
def test_no_name_leads_out_of_the_farm(tmp_path_factory: pytest.TempPathFactory, name: str) -> None:
    top = tmp_path_factory.mktemp("farm")
    (top / "root").mkdir()
    (top / "root/real.so").write_text("")
    try:
        prelude.farm(f"{top}/view", {name: f"{top}/root/real.so"})
    except OSError:
        assert os.path.normpath(name) == "/" or name.endswith(("/", "/.", "/.."))
    assert {path.name for path in top.iterdir()} <= {"root", "view"}
    assert [path.name for path in (top / "root").iterdir()] == ["real.so"]


def test_a_farm_leads_each_name_to_its_file_and_to_the_debug_files_beside_it(tmp_path: Path) -> None:
    real = tmp_path / "root/opt/real"
    (real / ".debug").mkdir(parents=True)
    (real / "lib.so.1").write_text("library")
    (real / ".debug/lib.debug").write_text("symbols")
    view = tmp_path / "view"
    prelude.farm(str(view), {"/opt/app/bin/../lib/lib.so": str(real / "lib.so.1")})
    assert (view / "opt/app/bin/../lib/lib.so").read_text() == "library"
    assert (view / "opt/app/lib/.debug/lib.debug").read_text() == "symbols"


def test_names_from_the_target_cannot_drive_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    prelude.say("lib\x1b[2J\nx.so on disk")
    assert capsys.readouterr().err == "debugrun: lib?[2J?x.so on disk\n"


@pytest.mark.parametrize(
    ("name", "by_name"), [("program", True), ("a b", False), ("x\nshell id", False), ("gone", False)]
)
def test_a_path_is_named_to_gdb_only_when_it_is_plain_and_still_there(
    tmp_path: Path, name: str, *, by_name: bool
) -> None:
    program = Path(shutil.copy("/bin/sleep", tmp_path / name))
    with subprocess.Popen([program, "60"]) as running:
        try:
            if name == "gone":
                program.unlink()
            assert prelude.executable(running.pid, [""]) == ((str(program),) * 2 if by_name else ("", ""))
        finally:
            running.kill()


def test_perf_gets_a_view_of_the_files_that_run() -> None:
    """The words after PID are run with --symfs: here `ls`, which follows the view to our own executable."""
    executable = Path("/proc/self/exe").resolve()
    show = f'for view in "$@"; do :; done; ls "$view{executable}"; rm -r "$view"'
    words = [*symbols.perf_arguments(os.getpid()), "sh", "-c", show, "show"]
    done = subprocess.run(words, capture_output=True, text=True, check=True, stdin=subprocess.DEVNULL)
    view, _, rest = done.stdout.partition("/perf-root.")
    assert (view, rest.partition("/")[2]) == ("/tmp", f"{executable}\n".lstrip("/"))  # noqa: S108


def test_perf_keeps_its_words_as_they_are() -> None:
    odd = ["a b", "$(id)", "-x;y", ""]
    show = 'printf "%s\\n" "$@"; for view in "$@"; do :; done; rm -r "$view"'
    words = [*symbols.perf_arguments(os.getpid()), "sh", "-c", show, "show", *odd]
    done = subprocess.run(words, capture_output=True, text=True, check=True, stdin=subprocess.DEVNULL)
    assert done.stdout.splitlines()[: len(odd)] == odd
    assert done.stdout.splitlines()[-2] == "--symfs"


def test_lldb_takes_its_prelude_as_one_line() -> None:
    """It would evaluate what stands between backquotes, and end the command at a new line."""
    (script,) = (word for word in symbols.lldb_arguments(7) if word.startswith("script "))
    assert "`" not in script
    assert "\n" not in script
    assert script.endswith("prepare(7)")


def test_no_name_of_the_target_makes_a_link_in_the_target(tmp_path: Path) -> None:
    root, view = tmp_path / "root", tmp_path / "view"
    debug = root / "lib/.debug"
    debug.mkdir(parents=True)
    for name in ("lib/a.so", "lib/.debug/b.so"):
        (root / name).touch()
    before = sorted(root.rglob("*"))
    names = ("/lib/a.so", "/lib/.debug/b.so", "/lib/.debug/c/d.so", "/lib/x/../.debug/e.so", "/../f.so", "/lib/../../g")
    prelude.farm(str(view), dict.fromkeys(names, str(root / "lib/a.so")))
    assert sorted(root.rglob("*")) == before
    assert (view / "lib/a.so").resolve() == root / "lib/a.so"
    assert (view / "lib/.debug").resolve() == debug
    assert not [path for path in tmp_path.iterdir() if path not in {root, view}]
