"""The README promises nothing that was not run: the transcripts that need no guests are run again here."""

import re
import shlex
from pathlib import Path

import pytest
from click.testing import CliRunner

from memtide.faces.cli.main import cli

ROOT = Path(__file__).parents[2]
TRANSCRIPT = r"```\n\$ (memtide {} [^\n]*)\n(.*?)```"


@pytest.mark.parametrize("name", ["simulate", "ksm"])
def test_a_transcript_is_what_the_command_prints(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every line of it stands in the command's output; an ellipsis stands for what was left out."""
    found = re.search(TRANSCRIPT.format(name), (ROOT / "README.md").read_text(), re.DOTALL)
    assert found, f"the README has no transcript of `memtide {name}` any more"
    command, said = found.groups()
    monkeypatch.chdir(ROOT)

    result = CliRunner().invoke(cli, shlex.split(command)[1:])

    assert result.exit_code == 0, result.output
    printed = result.stdout.splitlines()
    for line in said.splitlines():
        assert line == "…" or line in printed, line
