from train.runfolder import clear, run_name, write_origin


def test_trackers_find_a_run_again_and_no_other(tmp_path):
    folder = tmp_path / "run"
    folder.mkdir()
    write_origin(folder, {"time": "2026-05-04T03:02:01+00:00"})
    assert run_name(folder) == "run-20260504T030201"
    write_origin(folder, {"time": "2026-05-04T09:00:00+00:00"})  # resumed
    assert run_name(folder) == "run-20260504T030201"
    clear(folder)  # replaced
    write_origin(folder, {"time": "2026-05-05T00:00:00+00:00"})
    assert run_name(folder) == "run-20260505T000000"
