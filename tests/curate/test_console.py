"""What a person, a script and a terminal without colours see: bars, JSON, silence and no colours."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from rich.console import Console
from rich.progress import Progress
from typer.testing import CliRunner

from curate import console
from curate.cli import app
from curate.summary import Summary
from curate.workspace import Workspace

Command = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(autouse=True)
def speaking() -> Iterator[None]:
    yield
    console.speak()


def run(*arguments: str) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, list(arguments))
    return result.exit_code, result.stdout, result.stderr


def test_stages_are_quiet_or_json_when_asked(curate_here: Command, built: Workspace) -> None:
    pair = ("pair", "--root", str(built.root), "--workers", "1")
    said = curate_here(*pair)
    assert "pair" in said.stderr and not said.stdout
    quiet = curate_here("--quiet", *pair)
    assert not quiet.stderr and not quiet.stdout
    (line,) = curate_here("--json", "--quiet", *pair).stdout.splitlines()
    assert json.loads(line)["stage"] == "pair" and json.loads(line)["left"] > 0


def test_quiet_keeps_errors_and_results(curate_here: Command, built: Workspace, tmp_path: Path) -> None:
    result = curate_here("--quiet", "pair", "--root", str(tmp_path))
    assert result.returncode == 2 and result.stderr.startswith("error: ")
    code, out, _ = run("--quiet", "validate", str(built.catalog))
    assert code == 0 and "a valid catalog" in out


def test_tables_are_json_when_asked(built: Workspace) -> None:
    code, out, _ = run("--json", "measure", str(built.catalog))
    assert code == 0 and json.loads(out)["splits"]["all"]["rows"] > 0


@pytest.mark.parametrize("refused", [True, False])
def test_no_color_is_honoured(monkeypatch: pytest.MonkeyPatch, refused: bool) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLORTERM", "truecolor")
    if refused:
        monkeypatch.setenv("NO_COLOR", "1")
    else:
        monkeypatch.delenv("NO_COLOR", raising=False)
    file = io.StringIO()
    with Progress(*console.columns("cut"), console=Console(file=file, force_terminal=True)) as bar:
        bar.advance(bar.add_task("cut", total=3))
    codes = {
        part for code in file.getvalue().split("\x1b[")[1:] for part in code.partition("m")[0].split(";")
    }
    assert any(code.startswith(("3", "9")) and len(code) == 2 for code in codes) is not refused


def test_a_bar_has_rate_and_time_left() -> None:
    file, now = io.StringIO(), [0.0]
    shown = Console(file=file, force_terminal=True, width=120, color_system=None)
    with Progress(*console.columns("cut"), console=shown, get_time=lambda: now[0], auto_refresh=False) as bar:
        task = bar.add_task("cut", total=10)
        for _ in range(4):
            now[0] += 2
            bar.advance(task)
        bar.refresh()
        last = file.getvalue().rsplit("cut", 1)[1]
    assert "4/10" in last and "2.0 s each" in last and "0:00:12" in last


def test_a_summary_names_every_reason(capsys: pytest.CaptureFixture[str]) -> None:
    console.speak(as_json=True)
    console.show(Summary("pair", "pairs", 5, 3, {"too late": 2}))
    assert json.loads(capsys.readouterr().out)["rejected"] == {"too late": 2}


@pytest.mark.parametrize("program", ["curate", "train"])
def test_the_shell_completes_commands(program: str) -> None:
    code = f"import sys; sys.argv = ['{program}']; from {program}.cli import main; main()"
    wanted = {
        f"_{program.upper()}_COMPLETE": "complete_bash",
        "COMP_WORDS": f"{program} repo",
        "COMP_CWORD": "1",
    }
    result = subprocess.run(
        [sys.executable, "-c", code], env=os.environ | wanted, capture_output=True, text=True, timeout=60
    )
    assert result.stdout.split() == ["report"]
