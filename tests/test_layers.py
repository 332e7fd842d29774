"""Imports point one way; a stage never reaches back into the one that feeds it."""

import ast
from pathlib import Path

import pytest

SOURCE = Path(__file__).parent.parent / "src" / "memtide"

# room -> the rooms it may import from, besides itself
ALLOWED = {
    "units": {"errors"},
    "errors": set(),
    "model": {"units"},
    "ports": {"model"},
    "policy": {"model", "units", "errors", "ports"},
    "views": {"model", "units", "errors", "ports"},
    "sources": {"model", "ports", "units", "errors"},
    "actuators": {"model", "ports", "units", "errors"},
    "store": {"model", "ports", "units", "errors"},
    "sim": {"model", "ports", "units", "errors"},
    "runtime": {
        "model",
        "ports",
        "units",
        "errors",
        "policy",
        "views",
        "sources",
        "actuators",
        "store",
        "sim",
    },
    "faces": {"views", "model", "units", "errors", "runtime"},
}
# rooms that decide or render see values only: no I/O, no clock, no chance, no log
PURE = ("model", "policy", "views", "units", "errors", "ports")
IMPURE_MODULES = {
    "io", "logging", "os", "pathlib", "random", "shutil", "socket", "sqlite3", "subprocess", "sys", "threading", "time",
    "libvirt", "click", "asyncvarlink",
}  # fmt: skip
# the one room that may use each outside library
OUTSIDE = {
    "libvirt": ("sources/libvirt",),
    "asyncvarlink": ("runtime/control",),
    "click": ("faces/cli",),
    "sqlite3": ("store",),
}
# only the wiring names concrete classes of the edge
WIRED = {"sources", "actuators", "store", "sim"}
# ... and laws on simulated worlds are wired apart from the daemon: comparing them needs no sources and no store
WIRING = {"runtime/wiring.py": WIRED, "runtime/simulate.py": {"sim"}}


def modules() -> list[Path]:
    """Return every module of the product."""
    return sorted(SOURCE.rglob("*.py"))


def room_of(path: Path) -> str:
    """Return the top-level room a module is in."""
    return path.relative_to(SOURCE).parts[0].removesuffix(".py")


def imported(path: Path) -> list[str]:
    """Return the dotted names a module imports, wherever in it the import stands."""
    names = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names.append(node.module or "")
    return names


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(SOURCE)))
def test_imports_point_one_way(path: Path) -> None:
    """A module imports only from the rooms its own room may know."""
    room, where = room_of(path), path.relative_to(SOURCE).as_posix()
    if room == "__init__":
        return
    assert room in ALLOWED, f"{room} is a new room: give it its row in ALLOWED"
    for name in imported(path):
        parts = name.split(".")
        if parts[0] == "memtide":
            target = parts[1] if len(parts) > 1 else "__init__"
            assert target in ALLOWED[room] | {room, "__init__"}, f"{where} must not import {name}"
            if room == "runtime" and target in WIRED:
                assert target in WIRING.get(where, ()), f"only runtime/wiring.py may name {name}, not {where}"
        else:
            assert not (room in PURE and parts[0] in IMPURE_MODULES), f"{where} is pure and must not import {name}"
            homes = OUTSIDE.get(parts[0])
            assert homes is None or where.startswith(homes), f"{parts[0]} belongs in {homes}, not in {where}"


@pytest.mark.parametrize("path", [p for p in modules() if room_of(p) in PURE], ids=lambda p: str(p.relative_to(SOURCE)))
def test_pure_rooms_open_nothing(path: Path) -> None:
    """A pure room calls neither open() nor print()."""
    calls = {
        n.func.id
        for n in ast.walk(ast.parse(path.read_text()))
        if isinstance(n, ast.Call) and isinstance(n.func, ast.Name)
    }
    assert not calls & {"open", "print", "input", "exec", "eval"}


def test_only_wiring_starts_the_edge_from_the_command_line() -> None:
    """Faces know the runtime, not the sources and actuators behind it."""
    for path in modules():
        if room_of(path) == "faces":
            assert not [name for name in imported(path) if name.split(".")[1:2] and name.split(".")[1] in WIRED]
