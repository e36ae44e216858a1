import os
import socket
import stat
from concurrent.futures import ThreadPoolExecutor

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


def test_a_link_stays_one_and_its_target_is_replaced(tmp_path):
    (tmp_path / "there").mkdir()
    (tmp_path / "link").symlink_to("there/file")
    for content in (b"made", b"replaced"):  # the first finds a link that leads nowhere yet
        with atomic.replacing(tmp_path / "link") as file:
            file.write(content)
        assert (tmp_path / "link").is_symlink() and (tmp_path / "there" / "file").read_bytes() == content
    assert os.listdir(tmp_path / "there") == ["file"]


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o444])
def test_the_mode_and_the_owner_stay(tmp_path, mode):
    path = tmp_path / "a"
    path.touch()
    if os.geteuid() == 0:
        os.chown(path, 65534, 65534)
    path.chmod(mode)
    before = path.stat()
    with atomic.replacing(path):
        pass
    after = path.stat()
    assert after.st_ino != before.st_ino
    assert [after.st_mode, after.st_uid, after.st_gid] == [before.st_mode, before.st_uid, before.st_gid]


@pytest.mark.parametrize("umask, mode", [(0o022, 0o644), (0o077, 0o600)])
def test_a_new_file_has_what_the_umask_leaves(tmp_path, umask, mode):
    before = os.umask(umask)
    try:
        with atomic.replacing(tmp_path / "a"):
            pass
    finally:
        os.umask(before)
    assert (tmp_path / "a").stat().st_mode & 0o777 == mode


def special_files(folder):
    os.mkfifo(folder / "FIFO")
    with socket.socket(socket.AF_UNIX) as server:
        os.chdir(folder)  # its name may be no longer than a hundred characters
        server.bind("socket")
    if os.geteuid() == 0:
        os.mknod(folder / "character device", 0o600 | stat.S_IFCHR, os.makedev(1, 7))  # of the kind that is always full
    return sorted(os.listdir(folder))


def test_only_a_regular_file_is_replaced(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    kinds = special_files(tmp_path)
    (tmp_path / "link").symlink_to("FIFO")
    for name, kind in [*zip(kinds, kinds), ("link", "FIFO")]:
        with pytest.raises(OSError, match=f"it is a {kind}, and only a regular file can be replaced"):
            with atomic.replacing(tmp_path / name):
                raise AssertionError("it was opened")
        assert not stat.S_ISREG(os.lstat(tmp_path / name).st_mode)
    assert sorted(os.listdir(tmp_path)) == sorted([*kinds, "link"])


def test_drafts_of_dead_processes_are_swept_and_those_of_living_ones_are_not(tmp_path):
    names = ["a.csv.123.part", "a.csv.123.0.part", "b.csv.7.7.part", "notes.part", "a.csv.part"]
    for name in names:
        (tmp_path / name).write_bytes(b"half")
    with atomic.replacing(tmp_path / "a.csv"):
        assert [name for name in names if (tmp_path / name).exists()] == names[2:]
        (mine,) = set(os.listdir(tmp_path)) - set(names)
        atomic.sweep(tmp_path)
        assert sorted(os.listdir(tmp_path)) == sorted(["notes.part", "a.csv.part", mine])
    assert sorted(os.listdir(tmp_path)) == ["a.csv", "a.csv.part", "notes.part"]


def test_threads_that_write_one_file_leave_one_of_theirs(tmp_path):
    contents = [bytes([number]) * 100_000 for number in range(8)]

    def write(content):
        for _ in range(10):
            with atomic.replacing(tmp_path / "a") as file:
                file.write(content)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(write, contents))
    assert (tmp_path / "a").read_bytes() in contents and os.listdir(tmp_path) == ["a"]
