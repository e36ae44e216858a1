import fcntl
import os
import shutil
import subprocess
import sys

from fastvae.compilation.drafts import drafts

HOLD = """
import sys, time
from drafts import drafts
with drafts(sys.argv[1]) as folder:
    print(folder, flush=True)
    time.sleep(600)
"""


def test_what_a_killed_process_left_goes_with_the_next_and_what_a_living_one_has_stays(tmp_path):
    home = os.path.dirname(sys.modules["fastvae.compilation.drafts"].__file__)  # its own name is the function's
    environ = {**os.environ, "PYTHONPATH": home}
    command = [sys.executable, "-c", HOLD, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environ) as holder:
        theirs = os.path.basename(holder.stdout.readline().strip())
        with drafts(str(tmp_path)) as mine:
            assert sorted(os.listdir(tmp_path)) == sorted([theirs, os.path.basename(mine)])
        holder.kill()
        holder.wait()
        assert os.listdir(tmp_path) == [theirs]
        with drafts(str(tmp_path)) as mine:
            assert os.listdir(tmp_path) == [os.path.basename(mine)]
    assert os.listdir(tmp_path) == []


def test_a_folder_that_another_process_removed_before_it_was_locked_is_made_again(tmp_path, monkeypatch):
    lock, removed = fcntl.flock, []

    def late(file, operation):
        if not removed:
            removed.append(os.path.dirname(file.name))
            shutil.rmtree(removed[0])
        return lock(file, operation)

    monkeypatch.setattr(fcntl, "flock", late)
    with drafts(str(tmp_path)) as mine:
        assert removed and os.listdir(tmp_path) == [os.path.basename(mine)] != [os.path.basename(removed[0])]
    assert os.listdir(tmp_path) == []
