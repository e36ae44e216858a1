"""Who may write to theano's compile folder, and the error if it has no room."""

import errno
import os
import platform
import subprocess

import pytest

from fastvae.errors import StackError
from fastvae.stack import _compile_folder
from fastvae.stack._compile_folder import check_owner, check_room, failures_in_one_line


@pytest.fixture
def base(tmp_path):
    (tmp_path / "base").mkdir(mode=0o755)
    (tmp_path / "base").chmod(0o755)
    return tmp_path / "base"


def refused(*folders):
    with pytest.raises(StackError, match="is refused, since theano unpickles what is in it") as error:
        check_owner(*map(str, folders))
    assert "\n" not in str(error.value)
    return str(error.value)


def test_a_folder_of_ones_own_and_one_that_is_not_there_yet_are_accepted(base):
    check_owner(str(base))
    check_owner(str(base / "not" / "yet"))


@pytest.mark.parametrize("mode", [0o777, 0o757])
def test_one_that_everybody_can_write_is_refused_with_a_remedy_that_works(base, mode):
    base.chmod(mode)
    said = refused(base)
    assert "can be written by everybody" in said and "set THEANO_FLAGS=base_compiledir=FOLDER" in said
    remedy = said.partition("everybody: ")[2].partition(", or ")[0]
    subprocess.run(remedy, shell=True, check=True)
    check_owner(str(base))


def test_the_folder_inside_counts_too(base):
    inside = base / f"compiledir_Linux--{platform.python_version()}-64"
    inside.mkdir()
    inside.chmod(0o777)
    assert repr(str(inside)) in refused(base) and repr(str(inside)) in refused(base.parent, inside)


def test_a_link_leads_to_the_folder_that_counts(base):
    base.chmod(0o777)
    (base.parent / "link").symlink_to(base)
    assert repr(str(base)) in refused(base.parent / "link")


def test_a_folder_above_in_which_everybody_can_replace_it(base):
    (base / "mine").mkdir()
    base.chmod(0o777)
    assert f"chmod +t {base}" in refused(base / "mine")
    base.chmod(0o1777)  # as /tmp
    check_owner(str(base / "mine"))


def test_another_users_is_refused(base, monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: 12345)
    if os.stat(base).st_uid == 0:  # what belongs to root is accepted
        check_owner(str(base))
        os.chown(base, 65533, -1)
    assert "belongs to the user" in refused(base)


@pytest.mark.parametrize("private", [True, False])
def test_a_group_may_write_only_if_it_is_the_owners_own(base, monkeypatch, private):
    base.chmod(0o775)
    monkeypatch.setattr(_compile_folder, "_is_private", lambda gid, uid: private)
    if private:
        check_owner(str(base))
    else:
        assert "can be written by the group" in refused(base)


def test_theano_makes_its_folder_for_this_user_alone(tmp_path):
    before = os.umask(0o002)
    try:
        with _compile_folder.private():
            (tmp_path / "a").mkdir(mode=0o770)
        (tmp_path / "b").mkdir(mode=0o770)
    finally:
        os.umask(before)
    assert [(tmp_path / name).stat().st_mode & 0o777 for name in "ab"] == [0o700, 0o770]


def test_no_room_is_one_line_with_the_folder_and_the_remedy(tmp_path, monkeypatch):
    def full(*args, **kwargs):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(_compile_folder.tempfile, "TemporaryFile", full)
    with pytest.raises(StackError, match="cannot compile in '.*' .No space left on device.: make room there .* or set"):
        check_room(str(tmp_path))


COMPILER = "Compilation failed (return status=1): ld terminated with signal 7 [Bus error]\n"


@pytest.mark.parametrize("error", [OSError(errno.EROFS, "Read-only file system"), Exception(COMPILER)])
@pytest.mark.parametrize("where", ["compile folder", "TMPDIR"])
def test_what_fails_in_a_folder_without_room_names_it(tmp_path, monkeypatch, error, where):
    bad = {"compile folder": tmp_path / "compiledir", "TMPDIR": tmp_path / "tmp"}[where]
    (tmp_path / "tmp").mkdir()
    monkeypatch.setenv("TMPDIR", str(tmp_path / "tmp"))
    monkeypatch.setattr(_compile_folder, "_has_room", lambda folder: folder != str(bad))
    with pytest.raises(StackError, match=f"theano cannot compile in '{bad}'") as said:
        with failures_in_one_line(lambda: str(tmp_path / "compiledir")):
            raise error
    assert ("set TMPDIR to" in str(said.value)) is (where == "TMPDIR") and "\n" not in str(said.value)


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "elsewhere"), Exception(COMPILER), KeyError("x")])
def test_where_there_is_room_an_error_stays_what_it_was(tmp_path, error):
    with pytest.raises(type(error)) as said, failures_in_one_line(lambda: str(tmp_path)):
        raise error
    assert said.value is error
