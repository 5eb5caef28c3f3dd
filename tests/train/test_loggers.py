import json
import sys
import types

import pytest
import torch

from curate.catalog import InputError
from train.distributed import Ranks
from train.journal import Journal
from train.loggers import check_loggers, numbers, open_loggers


@pytest.fixture
def tracker(monkeypatch):
    """A module that notes what it is called with, under any name."""

    def install(name):
        calls, module = [], types.ModuleType(name)
        module.__spec__ = types.SimpleNamespace()  # what find_spec looks for
        for function in (
            "init",
            "log",
            "finish",
            "set_experiment",
            "start_run",
            "log_params",
            "log_metrics",
            "end_run",
        ):

            def note(*arguments, _function=function, **named):
                calls.append((_function, arguments, named))

            setattr(module, function, note)
        monkeypatch.setitem(sys.modules, name, module)
        return calls

    return install


@pytest.mark.parametrize("name", ["wandb", "trackio", "mlflow"])
def test_trackers_get_what_the_log_gets(tracker, tmp_path, name):
    calls = tracker(name)
    check_loggers([name])
    journal = Journal(tmp_path, 2, ("total", "grad_norm"), "total", Ranks(torch.device("cpu")))
    journal.loggers = open_loggers([name], tmp_path, "run", {"train": {"lr": 1e-3}}, 0)
    for step in range(2):
        journal.add(step, ["chip"], torch.tensor([2.0 - step, 1.0]), 1e-3, 0.0)
    journal.close()
    log, end = ("log_metrics", "end_run") if name == "mlflow" else ("log", "finish")
    ((_, (values,), named),) = [call for call in calls if call[0] == log]
    assert named == {"step": 2}
    assert values["train/total"] == 1.5
    line = json.loads(journal.path.read_text())
    assert values == {f"train/{key}": value for key, value in line.items() if key not in ("event", "step")}
    assert calls[-1][0] == end


def test_tensorboard_is_always_written(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    for logger in open_loggers([], tmp_path, "run", {}, 0):
        logger.log({"train/total": 0.5}, 3)
        logger.close()
    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    (scalar,) = events.Scalars("train/total")
    assert (scalar.step, scalar.value) == (3, 0.5)


def test_a_tracker_that_is_not_there_is_refused():
    with pytest.raises(InputError, match="no logger 'abacus'"):
        check_loggers(["abacus"])
    with pytest.raises(InputError, match="pip install trackio"):
        check_loggers(["trackio"])


def test_only_numbers_are_logged():
    assert numbers({"a": 1, "layers": {"b": 0.5, "c": "text"}, "chips": ["x"]}) == {"a": 1.0, "layers/b": 0.5}
