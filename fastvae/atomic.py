"""Files that are replaced whole: after a crash, a kill or a full disk there is the old file or the new, never a part.

Examples
--------
>>> import tempfile
>>> path = os.path.join(tempfile.mkdtemp(), "a.txt")
>>> with replacing(path) as file:
...     _ = file.write(b"whole")
>>> import pathlib
>>> pathlib.Path(path).read_bytes(), os.listdir(os.path.dirname(path))
(b'whole', ['a.txt'])
"""
import contextlib
import os

DRAFT = ".part"  # what the name of an unfinished file ends in


@contextlib.contextmanager
def replacing(path):
    """A binary file to write, synced to the disk and renamed to `path` when the block ends without an error.

    Parameters
    ----------
    path : str or path-like

    Raises
    ------
    OSError
        If it cannot be written; the draft beside `path` is then removed and an older file is as it was.
    """
    path = os.fspath(path)
    draft = f"{path}.{os.getpid()}{DRAFT}"
    try:
        with open(draft, "wb") as file:  # a killed process of the same number may have left one
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(draft, path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.remove(draft)
        raise
    folder = os.open(os.path.dirname(os.path.abspath(path)), os.O_RDONLY)
    try:
        os.fsync(folder)  # the new name, too, survives a power failure
    finally:
        os.close(folder)
