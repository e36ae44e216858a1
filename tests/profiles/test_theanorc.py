"""Configuration is read exactly as theano reads it; theano itself is the oracle."""

import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st
from theano.configparser import _config_var_list, parse_config_string

from fastvae.errors import ProfileError
from fastvae.profiles import theanorc
from tests.conftest import ROOT

KEYS = st.from_regex(r"[a-zA-Z_]+(\.[a-zA-Z_]+)?", fullmatch=True)
VALUES = st.text(max_size=30).map(str.strip)


@given(st.dictionaries(KEYS, VALUES, max_size=4))
def test_theano_reads_back_what_format_flags_writes(flags):
    text = theanorc.format_flags(flags)
    assert parse_config_string(text) == flags
    assert theanorc.parse_flags(text) == flags


@pytest.mark.parametrize(
    "text",
    [
        "",
        "device=cpu",
        " device=cpu , floatX=float32,",
        "device=cpu,device=cuda0",
        'blas.ldflags="-L/a,b -lblas"',
        "blas.ldflags='-lx' ,allow_gc=False # a comment",
        r"base_compiledir=/with\,comma,a=b=c",
    ],
)
def test_flags_are_split_as_theano_splits_them(text):
    assert theanorc.parse_flags(text) == parse_config_string(text)


@pytest.mark.parametrize(
    "text, named",
    [("device = cpu", "no spaces"), ('device="cpu', "No closing"), ("floatX=float32,device", "'device'")],
)
def test_malformed_flags_are_an_error(text, named):
    with pytest.raises(ProfileError, match=f"THEANO_FLAGS.*{named}") as error:
        theanorc.parse_flags(text)
    assert "\n" not in str(error.value)


def test_floatX_is_theanos_only_option_with_a_capital():
    """Files are read without regard to case, so every other option is its own lower case."""
    options = [variable.fullname.split(".")[-1] for variable in _config_var_list]
    assert [option for option in options if option != option.lower()] == ["floatX"]


def test_files_are_read_as_theano_reads_them(tmp_path, run):
    left, right = tmp_path / "left.rc", tmp_path / "right.rc"
    left.write_text(
        "[global]\nFLOATX = float32\noptimizer = fast_compile\nbase_compiledir = %(TMPDIR)s/of-%(USER)s\n"
        "[gcc]\ncxxflags = -O2 -DRATE=50%\n[dnn.conv]\nalgo_fwd = small\n[unknown]\nkey = value\n"
    )
    right.write_text("[global]\noptimizer = None\n[blas]\nldflags =\n[lib]\namdlibm = False\n")
    where = {"THEANORC": f"{left}:{right}", "USER": "me", "TMPDIR": str(tmp_path), "THEANO_FLAGS": "device=cpu"}
    merged = {}
    for label, values in theanorc.read_files({**where, "HOME": str(tmp_path)}):
        assert label in (f"THEANORC {left}", f"THEANORC {right}")
        merged.update(values)
    assert merged.pop("unknown.key") == "value"
    stock = f"import sys; sys.path.insert(0, {str(ROOT)!r})\nfrom bench import worker\n"
    stock += "worker.from_fastvae('stack/_gone').before_theano()\n"
    code = f"{stock}import theano.configparser as c\nfor key in {list(merged)}: print((key, c.fetch_val_for_key(key)))"
    done = run(sys.executable, "-c", code, **where)
    assert done.stdout.splitlines() == [str(item) for item in merged.items()], done.stderr


def test_home_file_is_read_only_without_THEANORC(tmp_path):
    (tmp_path / ".theanorc").write_text("[global]\nfloatX = float64\n")
    assert theanorc.read_files({"HOME": str(tmp_path)}) == [("~/.theanorc", {"floatX": "float64"})]
    assert theanorc.read_files({"HOME": str(tmp_path), "THEANORC": ""}) == []
    ((label, values),) = theanorc.read_files({"HOME": str(tmp_path), "THEANORC": "~/.theanorc"})
    assert (label, values) == (f"THEANORC {tmp_path}/.theanorc", {"floatX": "float64"})
    assert theanorc.read_files({"HOME": str(tmp_path / "nobody")}) == []


def test_our_own_key_keeps_its_value_in_each_file(tmp_path):
    for name in "ab":
        (tmp_path / name).write_text(f"[fastvae]\nname = {name}\n")
    layers = theanorc.read_files({"THEANORC": f"{tmp_path}/a:{tmp_path}/b"})
    assert [values["fastvae.name"] for _, values in layers] == ["a", "b"]


@pytest.mark.parametrize(
    "content, line",
    [
        ("floatX = float32\n", "line 1"),
        ("[global]\nfloatX float32\n", "line 2"),
        ("[global]\nfloatX = float32\nFLOATX = float32\n", "line 3"),
    ],
)
def test_a_malformed_file_is_named_with_its_line(tmp_path, content, line):
    (tmp_path / "bad.rc").write_text(content)
    with pytest.raises(ProfileError, match=f"bad.rc.*{line}") as error:
        theanorc.read_files({"THEANORC": str(tmp_path / "bad.rc")})
    assert "\n" not in str(error.value)


def test_a_missing_or_unreadable_file_is_named(tmp_path):
    with pytest.raises(ProfileError, match="nowhere.rc.*not a file"):
        theanorc.read_files({"THEANORC": str(tmp_path / "nowhere.rc")})
    (tmp_path / "binary.rc").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ProfileError, match="binary.rc cannot be read"):
        theanorc.read_files({"THEANORC": str(tmp_path / "binary.rc")})
