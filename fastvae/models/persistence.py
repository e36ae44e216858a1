"""Parameter files: the float32 arrays of a model and what is needed to build it again, in one .npz without pickle.

    header        JSON text: format version, class, constructor arguments, names of the parameters
    param_0000... one array a parameter, in the order of `get_params()`

The file is written beside its destination, synced and renamed, so a crash leaves the old file or the new.

Examples
--------
>>> import tempfile
>>> path = os.path.join(tempfile.mkdtemp(), "params.npz")
>>> write(path, "my.VAE", {"n_latent": 2}, [("weight", np.ones(3, "float32"))])
>>> read(path).model_class, read(path).config, read(path).params[0][0]
('my.VAE', {'n_latent': 2}, 'weight')
"""

from __future__ import annotations

import json
import os
import zipfile
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from fastvae import atomic
from fastvae.datasets import formats
from fastvae.errors import ConfigurationError, DataError
from fastvae.files import open_regular

FORMAT = 1


class Contents(NamedTuple):
    """What a parameter file holds."""

    model_class: str
    config: dict
    params: list  # of (name or None, array)


def full_name(cls: type) -> str:
    """The name under which a parameter file keeps a class, for example ``"fastvae.models.ConvVAE"``."""
    return f"{cls.__module__}.{cls.__qualname__}"


def write(
    path: str | os.PathLike,
    model_class: str,
    config: dict[str, Any],
    params: Sequence[tuple[str | None, np.ndarray]],
) -> None:
    """Write a parameter file atomically.

    Parameters
    ----------
    path : str or path-like
    model_class : str
        Full name of the model's class.
    config : dict
        Its constructor arguments; JSON must be able to hold them.
    params : list of (str or None, array)
        Names and values of the parameters.

    Raises
    ------
    DataError
        If a value is not a finite float, so a usable older file is never replaced, or the path cannot be written.
    ConfigurationError
        If JSON cannot hold the configuration.
    """
    for index, (name, value) in enumerate(params):
        if value.dtype.kind != "f":
            raise DataError(f"{path}: parameter {index} ({name}) is {value.dtype}; only floats can be saved")
        if not np.isfinite(value).all():
            raise DataError(
                f"{path}: parameter {index} ({name}) holds NaN or infinity, so nothing was saved: the training "
                "diverged; start again with a smaller learning rate"
            )
    header = {"format": FORMAT, "class": model_class, "config": config, "names": [name for name, _ in params]}
    arrays = {f"param_{index:04d}": value for index, (_, value) in enumerate(params)}
    path = os.fspath(path)
    try:
        with atomic.replacing(path) as file:
            np.savez(file, header=np.array(as_json(path, header)), **arrays)
    except OSError as error:
        raise DataError(f"{path}: cannot be written ({error.strerror}): give a file in a writable folder") from error


def as_json(owner: str, configuration: dict) -> str:
    """A model's configuration as text.

    Raises
    ------
    ConfigurationError
        If JSON cannot hold it, such as an array among the options of a user's likelihood.
    """
    try:
        return json.dumps(configuration)
    except (TypeError, ValueError) as error:
        raise ConfigurationError(
            f"{owner}: the model's configuration cannot be kept ({error}): options of a likelihood are numbers, text, "
            "and lists or dicts of these"
        ) from error


def read(path: str | os.PathLike) -> Contents:
    """Read a parameter file.

    Returns
    -------
    Contents

    Raises
    ------
    DataError
        If the file is missing, is not such a file, is damaged or of a newer format, or holds a value
        that is not finite.
    """
    path = os.fspath(path)
    try:
        with open_regular(path) as file:
            if file.read(4) != b"PK\x03\x04":
                raise DataError(f"{path}: not a parameter file of fastvae (an .npz that `vae.save` wrote)")
            file.seek(0)
            header, arrays = _unpack(path, file)
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}): give a file that `vae.save` wrote") from error
    params = [(name, arrays[f"param_{index:04d}"]) for index, name in enumerate(header["names"])]
    for index, (name, value) in enumerate(params):
        if value.dtype.kind != "f" or not np.isfinite(value).all():
            raise DataError(f"{path}: parameter {index} ({name}) is not all finite floats: save the model again")
    return Contents(header["class"], header["config"], params)


def fill(params: Sequence[Any], cls: type, path: str | os.PathLike, contents: Contents) -> None:
    """Set a model's parameters to the contents of a parameter file: all of them or, if one does not fit, none.

    Parameters
    ----------
    params : list of theano shared variables
        The model's, in the order of its `get_params()`.
    cls : type
        The model's class.
    path : str or path-like
        Of the file, for an error message.
    contents : Contents
        What `read(path)` returned.

    Raises
    ------
    DataError
        If they are of another class, or of other names, shapes or types.
    """
    # By the last name: a class of a script is in the module `__main__` of one process, and in another's it is not.
    if contents.model_class.split(".")[-1] != cls.__name__:
        raise DataError(
            f"{path}: holds the parameters of a {contents.model_class}, not of a {full_name(cls)}: "
            "load it into a model of its own class"
        )
    mine = {_label(index, p.name): p for index, p in enumerate(params)}
    found = {_label(index, name): value for index, (name, value) in enumerate(contents.params)}
    missing, unknown = sorted(mine.keys() - found.keys()), sorted(found.keys() - mine.keys())
    if missing or unknown:
        raise DataError(
            f"{path}: lacks parameters {missing} and has unknown ones {unknown}: it was saved by a model built "
            "differently"
        )
    for label, parameter in mine.items():
        shape = parameter.get_value(borrow=True).shape
        if found[label].shape != shape or found[label].dtype != parameter.dtype:
            raise DataError(
                f"{path}: parameter {label} is {found[label].dtype} {found[label].shape}, the model's is "
                f"{parameter.dtype} {shape}: it was saved by a model built differently"
            )
    for label, parameter in mine.items():
        parameter.set_value(found[label])


def _label(index, name):
    return f"{index} ({name})"


def _unpack(path, file):
    """The header and the other arrays of an open file whose first bytes say zip."""
    try:
        with zipfile.ZipFile(file) as archive:
            keys = [name.removesuffix(".npy") for name in archive.namelist()]
            arrays = {key: formats.npz_member(archive, key, f"{path}, {key}", any_shape=True) for key in keys}
        header = json.loads(str(arrays.pop("header")))
        version, names = header["format"], header["names"]
        known = isinstance(header["class"], str) and isinstance(header["config"], dict)
        known = known and isinstance(names, list) and all(isinstance(name, (str, type(None))) for name in names)
        whole = known and sorted(arrays) == [f"param_{index:04d}" for index in range(len(names))]
    except Exception as error:  # zipfile, numpy and json raise a dozen classes on damaged bytes
        raise DataError(
            f"{path}: not a whole parameter file of fastvae ({type(error).__name__}): it is damaged or from another "
            "program; save the model again"
        ) from error
    if type(version) is not int or not 1 <= version <= FORMAT:
        raise DataError(f"{path}: has format {version!r}, newer than {FORMAT}, the newest known here: upgrade fastvae")
    if not whole:
        raise DataError(f"{path}: its header and its {len(arrays)} arrays do not agree: save the model again")
    return header, arrays
