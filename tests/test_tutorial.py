"""The tutorial, command by command, in an empty folder: each ends well and prints the lines that the page shows."""

import os
import re
import subprocess
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[1] / "docs" / "tutorial.md"
STEPS = re.compile(r"^```sh\n(.*?)^```(?:\n\n```text\n(.*?)^```)?", re.MULTILINE | re.DOTALL)


def shape(line: str) -> str:
    """A line with every number as #, since times and floating-point figures differ between machines."""
    return re.sub(r"\s+", " ", re.sub(r"\d[\d.,]*(e-\d+)?", "#", line)).strip()


@pytest.mark.slow
def test_every_command_of_the_tutorial_does_what_the_page_says(tmp_path):
    steps = STEPS.findall(PAGE.read_text(encoding="utf-8"))
    assert len(steps) > 8
    for commands, expected in steps:
        done = subprocess.run(
            ["bash", "-euc", commands],
            cwd=tmp_path,
            env={**os.environ, "COLUMNS": "140", "NO_COLOR": "1"},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, (commands, done.stdout, done.stderr)
        printed = iter([shape(line) for line in (done.stdout + done.stderr).splitlines()])
        for line in expected.splitlines():
            assert shape(line) in printed, (line, commands, done.stdout, done.stderr)
