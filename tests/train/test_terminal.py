"""What a person, a script and a pipe see of `train`."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from rich.table import Table

from train import terminal
from train.progress import Bar
from train.terminal import Shown, printer, progress, speak


@pytest.fixture(autouse=True)
def speaking() -> Iterator[None]:
    yield
    speak()


def say_all() -> None:
    table = Table("features", "accuracy")
    table.add_row("trained", "0.5")
    say = printer()
    say("a line of more than a few words " * 9)
    say(Shown(table, {"accuracy": 0.5}))


def test_lines_are_not_wrapped_and_results_are_tables(capsys: pytest.CaptureFixture[str]) -> None:
    say_all()
    out, err = capsys.readouterr()
    assert "a line" in out.splitlines()[0] and "a line" not in out.splitlines()[1]
    assert "accuracy" in out and not err


def test_quiet_keeps_results(capsys: pytest.CaptureFixture[str]) -> None:
    speak(quiet=True)
    say_all()
    out, err = capsys.readouterr()
    assert "a line" not in out + err and "accuracy" in out


def test_json_is_all_that_is_on_stdout(capsys: pytest.CaptureFixture[str]) -> None:
    speak(as_json=True)
    say_all()
    out, err = capsys.readouterr()
    assert json.loads(out) == {"accuracy": 0.5} and "a line" in err


def test_bars_count_with_rate_and_time_left_one_at_a_time(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "160")
    with Bar(0, 2) as bar:
        bar.advance()
        bar.show({"loss": 1.0, "lr": 1e-3, "pairs_per_s": 10.0})
        with progress("features", 3) as advance:
            advance()
    assert not terminal.speech.counting
    err = capsys.readouterr().err
    assert "training" in err and "left" in err and "pairs/s" in err and "features" not in err
    with progress("features", 3) as advance:
        for _ in range(3):
            advance()
    err = capsys.readouterr().err
    assert "features" in err and "3/3" in err and "/s" in err
