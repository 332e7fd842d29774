"""The README promises nothing that was not run: its simulated transcript is run again here."""

import re
import shlex
from pathlib import Path

from click.testing import CliRunner

from memtide.faces.cli.simulate import simulate

README = Path(__file__).parents[2] / "README.md"
TRANSCRIPT = re.compile(r"```\n\$ (memtide simulate [^\n]*)\n(.*?)```", re.DOTALL)


def test_the_simulated_transcript_is_what_the_command_prints() -> None:
    """Every line of it stands in the command's output; an ellipsis stands for what was left out."""
    found = TRANSCRIPT.search(README.read_text())
    assert found, "the README has no transcript of `memtide simulate` any more"
    command, said = found.groups()

    result = CliRunner().invoke(simulate, shlex.split(command)[2:])

    assert result.exit_code == 0, result.output
    printed = result.stdout.splitlines()
    for line in said.splitlines():
        assert line == "…" or line in printed, line
