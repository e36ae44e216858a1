"""Read and write Theano's configuration exactly as theano 1.0.5 does, without importing it.

Theano's name of a key is ``option`` (in the section ``[global]`` of a file) or ``section.option``; here THEANO_FLAGS
and every theanorc file become mappings from such keys to strings.

    parse_flags     the mapping that the text of THEANO_FLAGS stands for
    format_flags    a mapping as text that theano's parser reads back unchanged
    read_files      the files that THEANORC names (or ~/.theanorc), one mapping each, lowest precedence first
    read_file       one theanorc file

Examples
--------
>>> parse_flags('device=cuda0, blas.ldflags="-L/opt/a,b -lblas"')
{'device': 'cuda0', 'blas.ldflags': '-L/opt/a,b -lblas'}
>>> format_flags({"device": "cpu", "blas.ldflags": "-L/opt/a,b -lblas"})
'device=cpu,blas.ldflags="-L/opt/a,b -lblas"'
"""

from __future__ import annotations

import configparser
import os
import shlex
from collections.abc import Mapping

from fastvae.errors import ProfileError

# Variables, besides USER and PID, that theano substitutes in a theanorc file, written as %(TMPDIR)s.
_INTERPOLATED = ("LSCRATCH", "TMPDIR", "TEMP", "TMP")


def parse_flags(text: str) -> dict[str, str]:
    """Split the text of THEANO_FLAGS into keys and values.

    Parameters
    ----------
    text : str
        ``[section.]option=value`` entries, separated by commas, which may be quoted as in a shell; of two equal keys
        the later one counts.

    Returns
    -------
    dict of str to str

    Raises
    ------
    ProfileError
        For a quote that is not closed, or an entry without ``=`` (which theano would ignore).
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


def format_flags(flags: Mapping[str, str]) -> str:
    """The text for THEANO_FLAGS of some keys and values, quoted where theano's parser would split or drop something."""
    return ",".join(f"{key}={_quoted(value)}" for key, value in flags.items())


def _quoted(value: str) -> str:
    if not any(character in value for character in ",'\"\\#"):
        return value
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'


def key_of(section: str, option: str) -> str:
    """Theano's name of an option in a file; the parser writes options in lower case, but floatX has a capital."""
    option = "floatX" if (section, option) == ("global", "floatx") else option
    return option if section == "global" else f"{section}.{option}"


def read_files(environ: Mapping[str, str]) -> list[tuple[str, dict[str, str]]]:
    """Read every configuration file that theano is going to read.

    Parameters
    ----------
    environ : mapping
        THEANORC (files separated by colons, of which the right one takes precedence) and HOME are read from it.

    Returns
    -------
    list of (str, dict)
        A label such as ``"THEANORC /home/me/gpu.theanorc"`` and that file's keys, lowest precedence first.

    Raises
    ------
    ProfileError
        If a file that THEANORC names is missing, or a file cannot be read.
    """
    home = environ.get("HOME") or os.path.expanduser("~")
    defaults = {"USER": environ.get("USER", os.path.basename(home)), "PID": str(os.getpid())}
    defaults.update((name, environ.get(name, "")) for name in _INTERPOLATED)
    merged, raw = configparser.ConfigParser(defaults), configparser.RawConfigParser()
    own: list[tuple[str, configparser.RawConfigParser]] = []
    for path in _paths(environ, home):
        label = f"THEANORC {path}" if "THEANORC" in environ else "~/.theanorc"
        parser = _parsed(configparser.RawConfigParser(), path, label)
        own.append((label, parser))
        _parsed(merged, path, label)
        _parsed(raw, path, label)

    def value(parser: configparser.RawConfigParser, section: str, option: str) -> str:
        if raw.get(section, option) != parser.get(section, option):
            return parser.get(section, option)  # a later file has another value
        try:
            return merged.get(section, option)
        except configparser.InterpolationError:
            return raw.get(section, option)

    return [
        (label, {key_of(s, o): value(parser, s, o) for s in parser.sections() for o in parser.options(s)})
        for label, parser in own
    ]


def read_file(path: str | os.PathLike[str]) -> dict[str, str]:
    """One theanorc file (a profile) as a mapping from theano's keys to values."""
    parser = _parsed(configparser.RawConfigParser(), path, str(path))
    return {key_of(section, option): value for section in parser.sections() for option, value in parser.items(section)}


def _paths(environ: Mapping[str, str], home: str) -> list[str]:
    def expanded(path: str) -> str:
        return home + path[1:] if path == "~" or path.startswith("~/") else os.path.expanduser(path)

    if "THEANORC" not in environ:
        path = expanded("~/.theanorc")
        return [path] if os.path.exists(path) else []
    paths = [expanded(path) for path in environ["THEANORC"].split(os.pathsep) if path]
    for path in paths:
        if not os.path.isfile(path):
            raise ProfileError(f"THEANORC names {path!r}, which is not a file: correct the path, or unset THEANORC")
    return paths


def _parsed(
    parser: configparser.RawConfigParser, path: str | os.PathLike[str], label: str
) -> configparser.RawConfigParser:
    try:
        with open(path) as file:
            parser.read_file(file)
    except configparser.Error as error:
        line = getattr(error, "lineno", None) or getattr(error, "errors")[0][0]  # noqa: B009
        reason = type(error).__name__
        raise ProfileError(
            f"{label} cannot be read: line {line} ({reason}); a theanorc has [section] lines, then `option = value` "
            "lines, each option once, and comments on lines of their own"
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise ProfileError(f"{label} cannot be read ({error}): make it a readable text file") from None
    return parser
