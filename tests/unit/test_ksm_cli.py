"""``memtide ksm``: captured trees from end to end, a daemon on real sockets, and what a terminal shows."""

import asyncio
import json
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import make_ksm
import make_live
import msgspec
import pytest

from memtide.faces.cli import main
from memtide.faces.cli.ksm_plot import plot
from memtide.faces.cli.ksm_text import ksm_lines
from memtide.faces.cli.status_text import head_lines
from memtide.faces.cli.terminal import render
from memtide.model.reason import Reason, ReasonCode
from memtide.runtime.control.server import serving
from memtide.sources.process import ProcessFacts
from memtide.sources.tree import parse_qemu_guest
from memtide.units import GIB, MIB
from memtide.views.ksm import ksm_report
from memtide.views.status import status

HOSTS = Path(__file__).parents[1] / "fixtures" / "hosts"


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    """Run a command; return its exit status, what it printed, and what it complained of."""
    with pytest.raises(SystemExit) as caught:
        main.main(arguments)
    printed = capsys.readouterr()
    return int(caught.value.code or 0), printed.out, printed.err


def read(capsys: pytest.CaptureFixture[str], root: Path) -> dict[str, Any]:
    """Return the JSON of a captured tree."""
    code, out, err = run(capsys, "ksm", "--json", "--root", str(root))
    assert (code, err) == (0, "")
    found: dict[str, Any] = json.loads(out)
    return found


def shown(width: int, **more: Any) -> list[str]:
    """Return the text of a made-up report, as a terminal of this width shows it."""
    return [render(each, width=None, coloured=False) for each in ksm_lines(_report(**more), width=width)]


def _report(**more: Any) -> Any:
    return ksm_report(make_ksm.scene(**more))


# --- captured trees ---------------------------------------------------------------------------------------------

ARTICLE = """\
verdict   worth it: saves 13.6 GiB for 73 % of a core; undoing it needs 13.6 GiB, the host has 3.40 GiB available
ksmd      scans; no memtide daemon told this: nothing weighs its CPU against what it brings, and there is no history
saved     13.6 GiB; 12.6 GiB after 1.03 GiB of bookkeeping
looked at 20.1 GiB merged into 6.49 GiB of copies, 44.0 GiB without a twin, 1.54 GiB not compared yet; 812 full scans
cpu       ksmd takes of one core 73 % since boot; the profit would be worth up to 158 % (8.00 GiB a core)
host      18 guests hold 97.3 GiB, less 13.6 GiB saved, other 7.00 GiB: 90.6 GiB used
stopping  resting costs nothing, merged pages stay merged; undoing it needs 13.6 GiB (3.40 GiB available, reserve \
3.59 GiB: too little by 13.6 GiB)
"""


def test_the_articles_host(capsys: pytest.CaptureFixture[str]) -> None:
    """Its own figures, told right: 13.64 GiB saved for 73 % of a core."""
    code, out, err = run(capsys, "ksm", "--root", str(HOSTS / "article"))

    assert (code, err) == (0, "")
    assert ARTICLE in out
    report = read(capsys, HOSTS / "article")
    assert report["saved_bytes"] / GIB == pytest.approx(13.64, abs=0.005)
    assert report["ksmd_cpu_ratio"] == pytest.approx(0.73)
    assert (report["verdict"], report["cost_of_stopping_bytes"]) == ("worth-it", 3_574_747 * 4096)
    assert (report["parted_bytes"], report["zero_bytes"], len(report["guests"])) == (None, None, 18)
    assert {"parted_bytes", "zero_pages", "advisor_mode"} <= set(report["missing"])


def test_a_negative_profit_is_shown_negative(capsys: pytest.CaptureFixture[str]) -> None:
    """In the sentence, in the figures and in the JSON."""
    _, out, _ = run(capsys, "ksm", "--root", str(HOSTS / "ksm-negative"))

    assert "costs more than it saves: -208 MiB" in out
    assert read(capsys, HOSTS / "ksm-negative")["profit_bytes"] == 8240 * 4096 - 3_929_008 * 64


def test_a_kernel_without_ksm(capsys: pytest.CaptureFixture[str]) -> None:
    """Clear words, what to do, exit 0, and null for every figure."""
    code, out, _ = run(capsys, "ksm", "--root", str(HOSTS / "no-ksm"))
    report = read(capsys, HOSTS / "no-ksm")

    assert code == 0
    assert "no KSM in this kernel" in out
    assert "CONFIG_KSM=y" in out
    assert (report["verdict"], report["saved_bytes"], report["profit_bytes"]) == ("no-ksm", None, None)


def test_an_old_kernel_tells_less(capsys: pytest.CaptureFixture[str]) -> None:
    """5.10: profit is computed, what is not told is null; one reading without uptime gives no price."""
    report = read(capsys, HOSTS / "kernel-5.10")

    assert (report["saved_bytes"], report["verdict"]) == (9000 * 4096, "unknown")
    assert report["profit_bytes"] is not None
    assert report["account"]["basis"] == "cgroup"
    assert report["guests"][0]["merged_bytes"] is None


def test_a_file_that_is_missing_makes_one_value_unknown(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """Without pages_volatile and a kernel's own profit there is no profit, and the verdict says why."""
    tree = shutil.copytree(HOSTS / "article", tmp_path / "tree")
    (tree / "sys/kernel/mm/ksm/pages_volatile").unlink()
    report = read(capsys, tree)

    assert (report["profit_bytes"], report["verdict"]) == (None, "unknown")
    assert "pages_volatile" in report["missing"]["profit_bytes"]
    assert report["saved_bytes"] == 3_574_747 * 4096


def test_no_such_tree(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """A folder that is no host's is a mistake in the command line."""
    code, _, err = run(capsys, "ksm", "--root", str(tmp_path))

    assert code == 2
    assert "there is no" in err


def test_without_a_daemon_this_host_is_read(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """Exit 0, and it says that nothing steers."""
    code, out, _ = run(capsys, "ksm", "--json", "--control", str(tmp_path))
    report = json.loads(out)

    assert (code, report["daemon"], report["steering"], report["history"][1:]) == (0, False, None, [])


@pytest.mark.parametrize(
    ("words", "trait"),
    [
        (["-machine", "q35,mem-merge=off"], "mergeable"),
        (["-mem-path", "/dev/hugepages/libvirt"], "huge_pages"),
        (["-object", '{"qom-type":"memory-backend-file","mem-path":"/dev/hugepages/x","share":false}'], "huge_pages"),
        (["-object", "memory-backend-memfd,id=ram,share=on"], "shared_memory"),
        (["-object", '{"qom-type":"memory-backend-memfd","share":true}'], "shared_memory"),
        (["-overcommit", "mem-lock=on"], "locked"),
        (["-device", '{"driver":"vfio-pci","host":"01:00.0"}'], "passthrough"),
    ],
)
def test_a_command_line_tells_how_a_guest_is_built(words: list[str], trait: str) -> None:
    """Whatever keeps a guest from sharing, in either of QEMU's spellings, and nothing else."""
    plain = ["qemu", "-name", "guest=vm-1,debug-threads=on", "-m", "size=2097152k", "-uuid", "u"]
    usual = parse_qemu_guest("u", 1, plain, ProcessFacts())
    guest = parse_qemu_guest("u", 1, plain + words, ProcessFacts())
    changed = {
        name for name in usual.traits.__struct_fields__ if getattr(usual.traits, name) != getattr(guest.traits, name)
    }

    assert (usual.name, usual.observed.maximum_bytes) == ("vm-1", 2 * GIB)
    assert changed == {trait}


@pytest.mark.parametrize(
    ("said", "name"),
    [
        ("guest=vm\x1b[2J\nKSM on other,debug-threads=on", "vm[2JKSM on other"),
        ("a\u202eb\x9b1m\t\x7f", "ab1m"),
        ("guest=" + "x" * 200, "x" * 64),
        ("guest=żółw 1", "żółw 1"),
        ("guest=\x1b\x07", "u"),
    ],
)
def test_a_name_cannot_paint_the_terminal(said: str, name: str) -> None:
    """What a command line calls its guest is text of one line, and not without end."""
    assert parse_qemu_guest("u", 1, ["qemu", "-name", said], ProcessFacts()).name == name


# --- a daemon ---------------------------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """Serve a daemon in a thread, as another process would."""
    loop, over, up = asyncio.new_event_loop(), asyncio.Event(), threading.Event()

    async def serve() -> None:
        live = make_live.live()
        steered = msgspec.structs.replace(live.decision, ksm=make_ksm.verdict())
        async with serving(tmp_path, make_live.FakeDaemon(make_live.live(decision=steered))):
            up.set()
            await over.wait()

    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),))
    thread.start()
    assert up.wait(5)
    yield tmp_path
    loop.call_soon_threadsafe(over.set)
    thread.join(5)
    loop.close()


def test_a_daemon_tells_more(capsys: pytest.CaptureFixture[str], folder: Path) -> None:
    """What ksmd does and why comes over the socket, and so do the figures."""
    code, out, _ = run(capsys, "ksm", "--control", str(folder))
    report = json.loads(run(capsys, "ksm", "--json", "--control", str(folder))[1])

    assert code == 0
    assert "all that can be merged is" in out
    assert "it is drawn when there are three" in out
    assert (report["daemon"], report["steering"]["reason"]) == (True, "ksm-converged")
    assert report["ksmd_cpu_ratio"] == pytest.approx(0.73)


# --- what a terminal shows --------------------------------------------------------------------------------------


@pytest.mark.parametrize("width", [80, 120])
def test_it_fits_the_terminal(width: int) -> None:
    """No line is wider, and no number is parted from its unit."""
    rows = shown(width)

    assert max(map(len, rows)) <= width
    assert not [row for row in rows if row.startswith(("          MiB", "          GiB", "          %"))]


def test_without_an_opinion_it_says_so() -> None:
    """A law that leaves KSM alone is no silence."""
    assert any("the daemon's law has no opinion on KSM" in row for row in shown(120, verdict=None))


def test_what_should_be_and_is_not_is_said() -> None:
    """It rests although it should scan: in observe mode, or before the kernel was told."""
    verdict = make_ksm.verdict(scanning=True)

    assert any("rests, though for 12m 34s it should scan" in row for row in shown(120, verdict=verdict))


def test_the_history_rises_and_stays() -> None:
    """Blanks before, full blocks since; CPU only while it rose."""
    rows = shown(80)
    top = rows[rows.index("saved") + 1]
    cpu = rows[rows.index("ksmd's share of one CPU") + 1]

    assert top.startswith("  5.20 GiB │   ")
    assert top.endswith("█" * 40)
    assert cpu.startswith("      15 % │██████")
    assert cpu.endswith(" " * 40)


def test_a_plot_of_little() -> None:
    """Unknown is blank, a trace of something is the lowest block, and the scale does not zoom into noise."""
    (row,) = plot([None, 0.0, 0.001, 0.01], width=20, height=1, label=str, least=0.01)

    assert render(row, width=None, coloured=False).partition("│")[2] == "  ▁█"


def test_guests_that_contradict_the_host_are_said() -> None:
    """A negative rest is told in words."""
    rows = " ".join(shown(400, guests=(make_ksm.guest("a", rss_bytes=64 * GIB),)))

    assert "more than is in use: these figures contradict each other" in rows


# --- status -----------------------------------------------------------------------------------------------------


def test_status_names_another_writer_and_a_loss() -> None:
    """A negative profit is negative there too, and who steers is named."""
    live = make_live.live()
    ksm = make_live.ksm(run=1, pages_sharing=256, general_profit_bytes=-210 * MIB)
    host = make_live.host(ksm=ksm, ksm_writers=("ksmtuned",))
    view = status(make_live.live(snapshot=msgspec.structs.replace(live.snapshot, host=host), previous_host=None))
    rows = [render(each, width=None, coloured=False) for each in head_lines(view, width=None, drawn=False)]

    assert view.host.ksm is not None
    assert view.host.ksm.other_writers == ("ksmtuned",)
    assert "ksm       scanning: saves 1 MiB (-210 MiB after its own cost); steered by ksmtuned, not by memtide" in rows


@pytest.mark.parametrize(
    ("code", "numbers", "writers", "says"),
    [
        (ReasonCode.KSM_OTHER_WRITER, {"who": "run 0 -> 1", "for_s": 60.0}, (), "else steers KSM: run 0 -> 1; memtide"),
        (
            ReasonCode.KSM_OTHER_WRITER,
            {"who": "ksmtuned"},
            ("ksmtuned",),
            "else steers KSM: ksmtuned; memtide",
        ),
        (ReasonCode.KSM_RUN_TWO, {}, (), "run is 2"),
        (ReasonCode.KSM_HELD, {"for_s": 60.0}, ("mom",), "memtide leaves it for 1m 0s; steered by mom, not by memtide"),
        (ReasonCode.KSM_REFUSED, {"why": "EBUSY"}, (), "the kernel refused the last change: EBUSY"),
        (ReasonCode.KSM_TENANTS, {"owners": "ann, bob"}, (), "guests of different owners are here: ann, bob"),
        (ReasonCode.KSM_UNMANAGED, {}, (), "hands off KSM"),
    ],
)
def test_status_says_why_memtide_leaves_ksm_alone(
    code: ReasonCode, numbers: dict[str, Any], writers: tuple[str, ...], says: str
) -> None:
    """Not only when another program was found; and nobody is named twice."""
    (row,) = ksm_row(Reason(code=code, numbers=numbers), writers)

    assert says in row
    assert all(row.count(writer) == 1 for writer in writers)


def test_status_is_short_while_memtide_steers() -> None:
    """What ksmd does by the law is for `memtide ksm` to explain."""
    (row,) = ksm_row(Reason(code=ReasonCode.KSM_CONVERGED), ())

    assert row.endswith("of a CPU")


def ksm_row(reason: Reason, writers: tuple[str, ...]) -> list[str]:
    """Return the line on KSM of the text of `memtide status`."""
    live = make_live.live()
    decision = msgspec.structs.replace(live.decision, ksm=make_ksm.verdict(reason=reason))
    snapshot = msgspec.structs.replace(live.snapshot, host=make_live.host(ksm_writers=writers))
    lines = head_lines(status(make_live.live(decision=decision, snapshot=snapshot)), width=None, drawn=False)
    rows = [render(each, width=None, coloured=False) for each in lines]
    return [row for row in rows if row.startswith("ksm ")]
