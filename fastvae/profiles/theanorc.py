"""Read and write Theano's configuration exactly as theano 1.0.5 does, without importing it.

Theano knows a key as ``option`` (section ``[global]`` of a file) or ``section.option``; THEANO_FLAGS
and every theanorc file become mappings from such keys to strings here.

    parse_flags     the text of THEANO_FLAGS to a mapping
    format_flags    a mapping to text that theano's parser reads back unchanged
    read_files      the files that THEANORC names (or ~/.theanorc), one mapping each, the lowest first

Examples
--------
>>> parse_flags('device=cuda0, blas.ldflags="-L/opt/a,b -lblas"')
{'device': 'cuda0', 'blas.ldflags': '-L/opt/a,b -lblas'}
>>> format_flags({"device": "cpu", "blas.ldflags": "-L/opt/a,b -lblas"})
'device=cpu,blas.ldflags="-L/opt/a,b -lblas"'
"""

import configparser
import os
import shlex

from fastvae.errors import ProfileError

# Names that theano lets a theanorc interpolate, as %(USER)s.
_INTERPOLATED = ("LSCRATCH", "TMPDIR", "TEMP", "TMP")


def parse_flags(text):
    """Split the text of THEANO_FLAGS into keys and values.

    Parameters
    ----------
    text : str
        Comma-separated ``[section.]option=value``, shell quotes allowed; the later of two equal keys wins.

    Returns
    -------
    dict of str to str

    Raises
    ------
    ProfileError
        For an open quote, or an entry without ``=`` (which theano would ignore).
    """
    splitter = shlex.shlex(text, posix=True)
    splitter.whitespace = ","
    splitter.whitespace_split = True
    try:
        entries = [entry.strip() for entry in splitter]
    except ValueError as error:
        raise ProfileError(f"THEANO_FLAGS cannot be read ({error}): {text!r}; close the quote") from None
    flags = {}
    for entry in filter(None, entries):
        key, equals, value = entry.partition("=")
        if key != key.strip():
            raise ProfileError(
                f"THEANO_FLAGS holds {entry!r}, which theano ignores: write {key.strip()}={value.strip()}, no spaces"
            )
        if not equals:
            raise ProfileError(
                f"THEANO_FLAGS holds {entry!r} without a value: write {entry}=VALUE, and commas between the entries"
            )
        flags[key] = value
    return flags


def format_flags(flags):
    """Write keys and values as a text for THEANO_FLAGS, quoting what theano's parser would split or drop."""
    return ",".join(f"{key}={_quoted(value)}" for key, value in flags.items())


def _quoted(value):
    if not any(character in value for character in ",'\"\\#"):
        return value
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'


def key_of(section, option):
    """Theano's name of an option of a file: files are read without regard to case, and only floatX has a capital."""
    option = "floatX" if (section, option) == ("global", "floatx") else option
    return option if section == "global" else f"{section}.{option}"


def read_files(environ):
    """Read every configuration file that theano is going to read.

    Parameters
    ----------
    environ : mapping
        THEANORC (files separated by colons, the right one wins) and HOME are taken from it.

    Returns
    -------
    list of (str, dict)
        A label such as ``"THEANORC /home/me/gpu.theanorc"`` and that file's keys, the lowest layer first.

    Raises
    ------
    ProfileError
        For a file that THEANORC names and that is missing, and for any file that cannot be read.
    """
    home = environ.get("HOME") or os.path.expanduser("~")
    defaults = {"USER": environ.get("USER", os.path.basename(home)), "PID": str(os.getpid())}
    defaults.update((name, environ.get(name, "")) for name in _INTERPOLATED)
    merged, raw = configparser.ConfigParser(defaults), configparser.RawConfigParser()
    own = []
    for path in _paths(environ, home):
        label = f"THEANORC {path}" if "THEANORC" in environ else "~/.theanorc"
        parser = _parsed(configparser.RawConfigParser(), path, label)
        own.append((label, parser))
        _parsed(merged, path, label)
        _parsed(raw, path, label)

    def value(parser, section, option):
        if raw.get(section, option) != parser.get(section, option):
            return parser.get(section, option)  # a file further right has its own value
        try:
            return merged.get(section, option)
        except configparser.InterpolationError:
            return raw.get(section, option)

    return [
        (label, {key_of(s, o): value(parser, s, o) for s in parser.sections() for o in parser.options(s)})
        for label, parser in own
    ]


def read_file(path):
    """Read one theanorc file (a profile) as a mapping from theano's keys to values."""
    parser = _parsed(configparser.RawConfigParser(), path, str(path))
    return {key_of(section, option): value for section in parser.sections() for option, value in parser.items(section)}


def _paths(environ, home):
    def expanded(path):
        return home + path[1:] if path == "~" or path.startswith("~/") else os.path.expanduser(path)

    if "THEANORC" not in environ:
        path = expanded("~/.theanorc")
        return [path] if os.path.exists(path) else []
    paths = [expanded(path) for path in environ["THEANORC"].split(os.pathsep) if path]
    for path in paths:
        if not os.path.isfile(path):
            raise ProfileError(f"THEANORC names {path!r}, which is not a file: correct the path, or unset THEANORC")
    return paths


def _parsed(parser, path, label):
    try:
        with open(path) as file:
            parser.read_file(file)
    except configparser.Error as error:
        line = getattr(error, "lineno", None) or error.errors[0][0]
        reason = type(error).__name__
        raise ProfileError(
            f"{label} cannot be read: line {line} ({reason}); a theanorc has [section] lines, then `option = value` "
            "lines, each option once, comments on their own lines"
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise ProfileError(f"{label} cannot be read ({error}): make it a readable text file") from None
    return parser
