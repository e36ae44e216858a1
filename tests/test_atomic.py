import os

import pytest

from fastvae import atomic


def test_a_file_is_replaced_and_no_draft_stays(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(b"old")
    with atomic.replacing(path) as file:
        file.write(b"new")
        assert path.read_bytes() == b"old"
    assert path.read_bytes() == b"new" and os.listdir(tmp_path) == ["a"]


@pytest.mark.parametrize("error", [OSError, KeyboardInterrupt])
def test_an_error_leaves_the_old_file_and_no_draft(tmp_path, error):
    path = tmp_path / "a"
    path.write_bytes(b"old")
    with pytest.raises(error), atomic.replacing(path) as file:
        file.write(b"new")
        raise error
    assert path.read_bytes() == b"old" and os.listdir(tmp_path) == ["a"]


def test_file_and_folder_are_synced_before_and_after_the_rename(tmp_path, monkeypatch):
    calls = []
    for name in ("fsync", "replace"):
        real = getattr(os, name)
        monkeypatch.setattr(os, name, lambda *args, name=name, real=real: (calls.append(name), real(*args))[1])
    with atomic.replacing(tmp_path / "a"):
        pass
    assert calls == ["fsync", "replace", "fsync"]


def test_the_draft_of_a_killed_process_with_the_same_number_is_no_obstacle(tmp_path):
    (tmp_path / f"a.{os.getpid()}{atomic.DRAFT}").write_bytes(b"torn and long")
    with atomic.replacing(tmp_path / "a") as file:
        file.write(b"new")
    assert (tmp_path / "a").read_bytes() == b"new" and os.listdir(tmp_path) == ["a"]
