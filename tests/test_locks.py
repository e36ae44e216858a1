import errno
import fcntl
import os
import signal
import socket
import subprocess
import sys
import threading

import pytest

from fastvae import locks
from fastvae.errors import ConfigurationError
from fastvae.locks import Lock

HOLD = """
import os, sys, time
from fastvae.locks import Lock
lock = Lock(sys.argv[1], "it")
if not os.fork():
    sys.exit()  # in order, with what is done at the end of a process
os.wait()
if not os.fork():
    print(os.getpid(), flush=True)
time.sleep(600)
"""


@pytest.fixture
def path(tmp_path):
    return tmp_path / "history.csv"


def refused(path):
    with pytest.raises(ConfigurationError, match="^the history is in use by process .*: wait until that") as error:
        Lock(path, "the history")
    return str(error.value)


def test_a_lock_is_held_once_and_its_file_goes_with_it(path):
    with Lock(path, "the history"):
        assert f"process {os.getpid()} on {socket.gethostname()} since 2" in refused(path)
        assert os.listdir(path.parent) == ["history.csv.lock"]
    assert not os.listdir(path.parent)
    with Lock(path, "the history"):
        pass


def test_other_threads_are_refused_and_only_one_of_many_gets_it(path):
    got, start = [], threading.Barrier(8)

    def take():
        start.wait()
        try:
            got.append(Lock(path, "it"))
        except ConfigurationError:
            pass

    threads = [threading.Thread(target=take) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(got) == 1


def test_a_process_holds_it_until_it_is_killed_whatever_its_forked_children_do(path, clean_environ):
    command = [sys.executable, "-c", HOLD.replace("from fastvae.locks", "from locks"), str(path)]
    environ = {**clean_environ, "PYTHONPATH": os.path.dirname(locks.__file__) + ":" + clean_environ["PYTHONPATH"]}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environ) as holder:
        child = int(holder.stdout.readline())
        assert f"process {holder.pid} on" in refused(path)
        holder.kill()
        holder.wait()
        with Lock(path, "the history"):
            os.kill(child, 0)
            os.kill(child, signal.SIGKILL)
            assert f"process {os.getpid()} on" in refused(path)
    assert os.listdir(path.parent) == ["home"]


def test_a_file_system_without_locks_is_named_and_the_run_goes_on(path, monkeypatch, capsys):
    def flock(descriptor, operation):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", flock)
    with Lock(path, "the history"), Lock(path, "the history"):
        said = capsys.readouterr().err.splitlines()
    assert len(said) == 2 and said[0].startswith(f"fastvae: {path.parent}: its file system (")
    assert "has no locks (No locks available), so nothing keeps two processes from writing there" in said[0]
    assert not os.listdir(path.parent)


def test_a_link_planted_in_its_place_is_not_followed(path):
    (path.parent / "victim").write_text("precious")
    (path.parent / "history.csv.lock").symlink_to("victim")
    with pytest.raises(OSError, match="symbolic links"):
        Lock(path, "the history")
    assert (path.parent / "victim").read_text() == "precious"
