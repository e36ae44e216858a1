import os
import resource
import shutil

import pytest

from fastvae.errors import ConfigurationError, DataError
from fastvae.training import history
from fastvae.training.history import History


def test_rows_are_in_the_file_within_a_second_of_the_run(tmp_path, monkeypatch):
    clock = iter([0.0, 0.5, 1.0, 1.2])
    monkeypatch.setattr(history.time, "monotonic", lambda: next(clock))
    path = tmp_path / "history.csv"
    with History(path, batch_size=2) as rows:
        rows.append(1, 4.0)
        assert history.read(path) == []
        rows.append(2, 1 / 3, held_out_elbo=-5.5)
        assert history.read(path) == [4.0, 1 / 3]
        rows.append(3, 7.0)
    assert path.read_text().splitlines() == [
        "iteration,loss,elbo_per_image,held_out_elbo_per_image",
        "1,4.0,-2.0,",
        f"2,{1 / 3!r},{-1 / 6!r},-5.5",
        "3,7.0,-3.5,",
    ]


def test_a_resumed_run_writes_the_steps_before_again_and_no_later_ones(tmp_path):
    path = tmp_path / "history.csv"
    with History(path) as rows:
        for i in range(1, 6):
            rows.append(i, float(i))
    with History(path, losses=[1.0, 2.0], held_out=[[2, -8.0]]) as rows:
        rows.append(3, 9.0)
    assert history.read(path) == [1.0, 2.0, 9.0]
    assert path.read_text().splitlines()[2] == "2,2.0,,-8.0"


def test_a_line_cut_short_by_a_kill_is_left_out(tmp_path):
    (tmp_path / "h.csv").write_text(history.HEADER + "1,4.0,-2.0,\n2,3.")
    assert history.read(tmp_path / "h.csv") == [4.0]


@pytest.mark.parametrize("text", ["a,b\n1,2\n", history.HEADER + "1,x,2,\n"])
def test_a_damaged_history_is_named(tmp_path, text):
    (tmp_path / "history.csv").write_text(text)
    with pytest.raises(DataError, match="history.csv' is not a history"):
        history.read(tmp_path / "history.csv")


def test_an_empty_history(tmp_path):
    (tmp_path / "history.csv").write_text("")
    assert history.read(tmp_path / "history.csv") == []


def test_what_cannot_be_begun_is_named(tmp_path):
    with pytest.raises(DataError, match="cannot be written .Is a directory"), History(tmp_path):
        pass


def test_a_full_disk_is_said_once_and_the_rows_follow_when_there_is_room(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(history, "WRITE_EVERY", 0.0)
    path = tmp_path / "history.csv"
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    with History(path) as rows:
        rows.append(1, 1.0)
        try:
            resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size + 3, hard))
            rows.append(2, 2.0)
            rows.append(3, 3.0)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        assert history.read(path) == [1.0]
    assert history.read(path) == [1.0, 2.0, 3.0]
    said = capsys.readouterr().err
    assert said.count("cannot be written (File too large)") == 1


@pytest.mark.parametrize("ours", [None, ValueError])
def test_what_is_missing_at_the_end_is_an_error_unless_there_is_another(tmp_path, capsys, ours):
    path = tmp_path / "folder" / "history.csv"
    path.parent.mkdir()
    with pytest.raises(ours or DataError, match="cannot be written .No such file" if ours is None else None):
        with History(path) as rows:
            shutil.rmtree(path.parent)
            rows.append(1, 1.0)
            if ours is not None:
                raise ours
    assert ("No such file" in capsys.readouterr().err) is (ours is not None)


def test_a_history_is_one_runs_until_that_ends(tmp_path):
    (tmp_path / "link.csv").symlink_to("history.csv")
    with History(tmp_path / "history.csv") as rows:
        rows.append(1, 1.0)
        for name in ("history.csv", "link.csv"):
            with pytest.raises(ConfigurationError, match=f"history='.*{name}' is in use by process"):
                with History(tmp_path / name):
                    pass
    assert history.read(tmp_path / "link.csv") == [1.0]
    with History(tmp_path / "link.csv"):
        pass
    assert history.read(tmp_path / "history.csv") == []


def test_a_device_is_refused_and_gets_no_lock(tmp_path):
    os.mkfifo(tmp_path / "FIFO")
    with pytest.raises(
        DataError, match="FIFO: cannot be written .it is a FIFO, and only a regular file can be replaced"
    ):
        with History(tmp_path / "FIFO"):
            pass
    assert os.listdir(tmp_path) == ["FIFO"]


@pytest.mark.parametrize("row", ["2,1.0,,\n", "x,1.0,,\n", "1,1\x000,,\n", '1,"' + "9" * 200_000 + '",,\n', "1\n"])
def test_rows_that_no_run_writes_are_named(tmp_path, row):
    (tmp_path / "history.csv").write_text(history.HEADER + row)
    with pytest.raises(DataError, match="history.csv' is not a history"):
        history.read(tmp_path / "history.csv")
