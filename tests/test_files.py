import os
import socket

import pytest

from fastvae import checkpoint, datasets, models, on_disk
from fastvae.cli import run_folder
from fastvae.errors import FastvaeError
from fastvae.files import open_regular
from fastvae.training import history


@pytest.fixture
def fifo(tmp_path):
    def make(name):
        os.mkfifo(tmp_path / name)
        return tmp_path / name

    return make


READERS = {
    "data, npy": (datasets.load, "a.npy"),
    "data, npz": (datasets.load, "a.npz"),
    "data, HDF5": (datasets.load, "a.h5"),
    "data, IDX": (datasets.load, "a.gz"),
    "rows, npy": (on_disk, "a.npy"),
    "rows, HDF5": (on_disk, "a.h5"),
    "rows, IDX": (on_disk, "a"),
    "rows, image": (lambda path: on_disk(path.parent), "a.png"),
    "network": (models.load, "vae.npz"),
    "configuration": (lambda path: run_folder.configuration(path.parent), "config.json"),
    "history": (history.read, "history.csv"),
    "checkpoint": (checkpoint.container.read, "checkpoint-00000001.ckpt"),
}


@pytest.mark.parametrize("read, name", READERS.values(), ids=READERS)
def test_a_fifo_is_refused_at_once(fifo, read, name):
    with pytest.raises(FastvaeError, match="a FIFO, not a regular file"):
        read(fifo(name))


def test_devices_and_sockets_are_refused(tmp_path):
    with pytest.raises(OSError, match="a character device, not a regular file"):
        open_regular("/dev/zero")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "s"))
        with pytest.raises(OSError, match="a socket, not a regular file"):
            open_regular(tmp_path / "s")


def test_a_link_to_a_regular_file_is_read(tmp_path):
    (tmp_path / "a").write_bytes(b"abc")
    (tmp_path / "link").symlink_to(tmp_path / "a")
    with open_regular(tmp_path / "link") as file:
        assert file.read() == b"abc"
