from __future__ import annotations
from importlib.resources import files

def gdb_arguments(pid: int, *, prelude: bool = True) -> tuple[str, ...]:
    root = f"/proc/{pid}/root"
    settings = ["set auto-load no", "set auto-load safe-path $datadir/auto-load", "set libthread-db-search-path $sdir",
        "set debuginfod enabled off", f"set sysroot {root}", f"set debug-file-directory {root}/usr/lib/debug:/usr/lib/debug"]
    if prelude:
        source = files("debugrun").joinpath("data/gdb/prelude.py").read_text()
        settings.append(f"python exec({source + f'prepare({pid})'!r}, {{'__name__': 'debugrun'}})")
    return ("-nx", *(a for s in settings for a in ("-iex", s)))
