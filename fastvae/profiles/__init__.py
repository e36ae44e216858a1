"""Device profiles: find, resolve, explain and activate them.

A profile is a commented theanorc file in `theanorc_profiles/`. Profiles are composed with colons, and the right one
takes precedence (`cuda:deterministic`). For each key THEANO_FLAGS takes precedence over the files of THEANORC (or
~/.theanorc), and these over the profile. What depends on the machine, such as the BLAS to link, is found out when a
profile is resolved.

    resolve               what the environment asks for, checked against this machine, as a `Profile`
    activated, active     the context in which theano is imported under it, and the one in force (activation.py)
    listing, explain      all profiles, and one key by key, as text
    vector_instructions   which are in force here, as text

If nothing is asked for, the profile is `auto`: the best of cuda, cpu and cpu-blas that this machine supports. The other
modules are `theanorc` (theano's configuration, read and written without theano), `isa` (the limit of vector
instructions) and `memory` (running out of it).

Examples
--------
>>> profile = resolve("cpu:deterministic", environ={})
>>> profile.device, profile.settings["deterministic"]
('cpu', ('more', 'profile deterministic'))
"""

from __future__ import annotations

import difflib
import os
import pathlib
import types
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fastvae import backends, devices, kinds, renamed
from fastvae.devices import blas_library, cuda_libraries, cuda_search
from fastvae.devices.findings import Finding
from fastvae.errors import ProfileError, StackError
from fastvae.parallel import launcher
from fastvae.profiles import isa, theanorc
from fastvae.profiles.activation import activated, active  # noqa: F401 (public here)

AUTO = ("cuda", "cpu", "cpu-blas")
NUMPY = "numpy's own (blas.ldflags is empty)"  # which then computes products

Layers = Sequence[tuple[str, Mapping[str, str]]]  # (label, Theano's keys and their values), lowest precedence first
Settings = dict[str, tuple[str, str]]  # from Theano's keys to (value, label of the layer)


def _environ(value: Any) -> Any:
    if not isinstance(value, Mapping) or not all(isinstance(text, str) for text in value.values()):
        raise TypeError
    return value


ENVIRON = kinds.optional(kinds.Kind("mapping", "a mapping of strings such as os.environ", _environ))


@dataclass(frozen=True)
class Profile:
    """A resolved profile.

    Attributes
    ----------
    name : str
        What is in force, such as ``"cuda:deterministic"``; never ``"auto"``.
    requested : str
        What was asked for, possibly ``"auto"``.
    reason : str
        One line that explains a choice which the user did not spell out; empty if there was none.
    settings : mapping of str to (str, str)
        From Theano's key (or ``fastvae.key``) to its value and the layer that set it.
    device : str
        Theano's name of the device.
    blas : str
        Which BLAS Theano links.
    blas_path : str or None
        That library; None if Theano leaves products to numpy.
    """

    name: str
    requested: str
    reason: str
    settings: Mapping[str, tuple[str, str]]
    device: str
    blas: str
    blas_path: str | None

    @property
    def options(self) -> dict[str, str]:
        """The values of fastvae's own keys, such as ``tf32``, without their section."""
        return {key.removeprefix("fastvae."): value for key, (value, _) in self.settings.items() if _ours(key)}

    @property
    def backend(self) -> str:
        """The one of `fastvae.backends` that computes on the device: "cpu" or "gpu"; "stock" for Theano's own Ops."""
        return self.options["backend"]

    @property
    def tf32(self) -> bool:
        """Whether products and convolutions on an NVIDIA GPU may round their factors to TF32."""
        return self.options.get("tf32", "false").lower() == "true"

    @property
    def search(self) -> bool:
        """Whether cuDNN times its algorithms for every new shape instead of trusting its heuristics."""
        return self.options.get("cudnn_search", "false").lower() == "true"

    @property
    def graphs(self) -> bool:
        """Whether a training step on an NVIDIA GPU is recorded as a CUDA graph."""
        return self.options.get("cuda_graphs", "true").lower() == "true"

    @property
    def deterministic(self) -> bool:
        """Whether only algorithms are used that give the same bits in every run."""
        return self.settings.get("deterministic", ("",))[0] == "more"

    @property
    def cudnn(self) -> str | None:
        """The path of the cuDNN that goes with the device; None unless it is an NVIDIA GPU."""
        if devices.family(self.device) != "cuda":
            return None
        return cuda_libraries.find(self.device, self.cuda_path)[-1].path

    @property
    def cuda_path(self) -> str | None:
        """Folders to search for CUDA's libraries, separated by colons; None for the usual places."""
        return self.options.get("cuda_path")

    @property
    def winograd(self) -> bool:
        """Whether 3x3 convolutions on the CPU may use Winograd's transform."""
        return self.options.get("winograd", "true").lower() == "true"

    @property
    def isa(self) -> str:
        """The limit of vector instructions: "avx2", or "native" for none."""
        return self.options.get("isa", "native")

    @property
    def instructions(self) -> str:
        """The vector instructions in force, and what limits them."""
        return isa.describe(self.settings)

    @property
    def flags(self) -> str:
        """The THEANO_FLAGS that give theano every setting but those of THEANORC's files, which it reads itself."""
        return theanorc.format_flags(
            {k: value for k, (value, layer) in self.settings.items() if not _ours(k) and not _from_file(layer)}
        )


def folder() -> pathlib.Path:
    """Where the profiles are: inside the installed package, or beside it in a checkout."""
    package = pathlib.Path(__file__).resolve().parent.parent
    installed = package / "theanorc_profiles"
    return installed if installed.is_dir() else package.parent / "theanorc_profiles"


def names() -> list[str]:
    """The names of all profiles, sorted."""
    return sorted(path.stem for path in folder().glob("*.theanorc"))


@kinds.checked(name=kinds.optional(kinds.text), environ=ENVIRON)
def resolve(name: str | None = None, environ: Mapping[str, str] | None = None) -> Profile:
    """Work out which profile is asked for, check that this machine supports it, and complete it.

    Parameters
    ----------
    name : str, optional
        A profile expression. By default FASTVAE_PROFILE, else the profiles among the files of THEANORC, else ``auto``.
    environ : mapping, optional
        The environment; by default the process's own.

    Returns
    -------
    Profile

    Raises
    ------
    ProfileError
        If the profile is unknown, contradictory or unavailable, a configuration file cannot be read, or floatX is not
        float32.
    StackError
        If g++, Python's headers or a BLAS is missing.

    Examples
    --------
    >>> resolve("cpu", environ={"THEANO_FLAGS": "allow_gc=True"}).settings["allow_gc"]
    ('True', 'THEANO_FLAGS')
    """
    profile, broken, missing = _resolve(name, os.environ if environ is None else environ)
    if broken:
        raise StackError(_unusable(profile, broken))
    if missing:
        raise ProfileError(_unavailable(profile, missing))
    return profile


def _resolve(name: str | None, environ: Mapping[str, str]) -> tuple[Profile, list[Finding], list[Finding]]:
    """The profile, and what is missing on this machine: first for theano in general, then for this profile."""
    layers = _layers(environ)
    user = _merged(layers)
    requested, parts = _requested(name, environ, layers)
    reason = ""
    missing: list[Finding] | None = None
    if "auto" in parts:
        if "device" in user:
            chosen = _family(*user["device"])
        else:
            chosen, reason = _auto()
            missing = []
        parts = [chosen if part == "auto" else part for part in parts]
    composed = [(f"profile {part}", _read(part)) for part in parts]
    settings = _merged([*composed, *layers])
    settings["fastvae.name"] = (":".join(parts), "resolved here")
    if environ.get(cuda_search.VARIABLE):
        settings["fastvae.cuda_path"] = (environ[cuda_search.VARIABLE], cuda_search.VARIABLE)
    del settings["fastvae.about"]
    _check_float32(settings)
    for key in ("fastvae.winograd", "fastvae.tf32", "fastvae.cudnn_search", "fastvae.cuda_graphs"):
        _check_boolean(settings, key)
    isa.limit(settings)
    settings["device"] = _of_rank(*settings["device"], environ)
    device, layer = settings["device"]
    family, (asked, profile_layer) = _family(device, layer), _merged(composed)["device"]
    if family != _family(asked, profile_layer):
        reason = f"device={device} from {layer} takes precedence over device={asked} of {profile_layer}"
    settings["fastvae.backend"] = _backend(settings, family, _family(asked, profile_layer))
    if family == "cuda" and "gpuarray.cache_path" not in settings:
        settings["gpuarray.cache_path"] = (_kernel_cache(settings), "resolved here")
    linked = _link_blas(settings)
    stack = (devices.compiler(settings.get("cxx", ("g++",))[0]), devices.headers(), linked)
    broken = [finding for finding in stack if not finding.found]
    profile = Profile(
        name=":".join(parts),
        requested=requested,
        reason=reason,
        settings=types.MappingProxyType(settings),
        device=device,
        blas=linked.version + f" ({linked.path})" * bool(linked.path),
        blas_path=linked.path or None,
    )
    return profile, broken, _missing(settings) if missing is None else missing


def _layers(environ: Mapping[str, str]) -> Layers:
    """What the user's files and THEANO_FLAGS say."""
    return [*theanorc.read_files(environ), ("THEANO_FLAGS", theanorc.parse_flags(environ.get("THEANO_FLAGS", "")))]


def _requested(name: str | None, environ: Mapping[str, str], layers: Layers) -> tuple[str, list[str]]:
    """What the user asked for, and the names of the profiles in it."""
    requested = name if name is not None else environ.get("FASTVAE_PROFILE") or _named_by(layers) or "auto"
    try:
        return requested, _parts(requested)
    except ProfileError as error:
        if name is not None or "FASTVAE_PROFILE" in environ:
            raise
        files = ", ".join(label for label, values in layers if "fastvae.name" in values)
        raise ProfileError(f"{error} (it is the [fastvae] name in {files})") from None


def _missing(settings: Settings) -> list[Finding]:
    """What this machine lacks for the settings' device, or for the backend on it."""
    device, _ = settings["device"]
    missing = devices.missing_for(device, _cuda_path(settings))
    backend, _ = settings["fastvae.backend"]
    finding = None if backend == "stock" else backends.load(backend).missing()
    return missing if finding is None else [*missing, finding]


def _backend(settings: Settings, family: str, expected: str) -> tuple[str, str]:
    """The backend for a family of devices, and the layer that set it; `expected` is the profile's own family.

    If the device is not the profile's, neither is the backend: a GPU gets its own, and the CPU Theano's own Ops, unless
    THEANO_FLAGS names a backend too.
    """
    name, layer = settings.get("fastvae.backend", ("stock", "the default"))
    known = backends.names()
    fitting = [other for other in known if family in backends.load(other).DEVICES]
    if family != expected and layer != "THEANO_FLAGS":
        return ("stock" if family == "cpu" else fitting[0]), "resolved here"
    if name == "onednn":
        renamed.warn(f"fastvae.backend=onednn (from {layer})", "fastvae.backend=cpu")
        name = "cpu"
    if name not in ("stock", *known):
        raise ProfileError(
            f"fastvae.backend={name} (from {layer}) is unknown: write {', '.join(known)}, or stock for Theano's own Ops"
        )
    if name != "stock" and name not in fitting:
        raise ProfileError(
            f"fastvae.backend={name} (from {layer}) does not compute on device={settings['device'][0]}: write "
            f"{', '.join(fitting)}, or stock for Theano's own Ops"
        )
    return name, layer


def _named_by(layers: Layers) -> str:
    """The profiles that the user's files ask for: a file that is one of ours, or a copy, contains its name.

    Of several profiles with a device the last one is taken.
    """
    asked = [part for _, values in layers for part in values.get("fastvae.name", "").split(":") if part]
    asked = list(dict.fromkeys(reversed(asked)))[::-1]
    with_device = [part for part in asked if part in names() and "device" in _read(part)]
    return ":".join(part for part in asked if part not in with_device[:-1])


def _merged(layers: Layers) -> Settings:
    return {key: (value, label) for label, values in layers for key, value in values.items()}


def _ours(key: str) -> bool:
    return key.startswith("fastvae.")


def _from_file(layer: str) -> bool:
    return layer.startswith(("THEANORC ", "~/.theanorc"))


def _read(part: str) -> dict[str, str]:
    return theanorc.read_file(folder() / f"{part}.theanorc")


def _parts(expression: str) -> list[str]:
    """The names in a profile expression, checked. Just one names a device; if the user gave none, `auto` is added."""
    known = ["auto", *names()]
    parts = [part.strip() for part in expression.split(":")]
    for part in parts:
        if part not in known:
            close = difflib.get_close_matches(part, known, n=1)
            hint = f" (did you mean {close[0]!r}?)" if close else ""
            raise ProfileError(
                f"profile {expression!r}: {part!r} is unknown{hint}; admissible are {', '.join(known)}, "
                "and compositions with colons such as cuda:deterministic"
            )
    with_device = [part for part in parts if part == "auto" or "device" in _read(part)]
    if len(with_device) > 1:
        others = " and ".join(name for name in names() if "device" not in _read(name))
        raise ProfileError(
            f"profile {expression!r} names {len(with_device)} devices ({', '.join(with_device)}): keep one of them; "
            f"only {others} can be added to another profile"
        )
    return parts if with_device else ["auto", *parts]


def _family(device: str, layer: str) -> str:
    family = devices.family(device)
    if family is None:
        raise ProfileError(f"device={device!r} (from {layer}) is not a device: write cpu, cuda, cuda1 or opencl0:0")
    return family


def _auto() -> tuple[str, str]:
    """The best profile that works here, and one line that says why it is not a better one."""
    refused: list[str] = []
    for candidate in AUTO:
        missing = _missing(_merged([("", _read(candidate))]))
        if not missing:
            return candidate, f"profile auto: {candidate}" + f" (not {'; not '.join(refused)})" * bool(refused)
        refused.append(f"{candidate}: {missing[0].why}; {missing[0].remedy}")
    raise ProfileError(f"profile auto: nothing works here (not {'; not '.join(refused)})")


def _of_rank(device: str, layer: str, environ: Mapping[str, str]) -> tuple[str, str]:
    """The device of a rank, of which a launcher started several on this machine: where no GPU is named, one each."""
    announced = launcher.announced(environ)
    if device != "cuda" or announced is None or announced.place is None or announced.here == 1:
        return device, layer
    count = cuda_libraries.driver().devices  # 1 where the scheduler shows each rank its own alone
    place = announced.place
    return (f"cuda{place % count}", f"{layer}, rank {place} of this machine") if count else (device, layer)


def _check_float32(settings: Settings) -> None:
    value, layer = settings["floatX"]
    if value not in ("float32", "32"):
        raise ProfileError(f"floatX={value} (from {layer}): fastvae computes in float32 only; say floatX=float32 there")


def _check_boolean(settings: Settings, key: str) -> None:
    value, layer = settings.get(key, ("true", ""))
    if value.lower() not in ("true", "false"):
        raise ProfileError(f"{key}={value} (from {layer}): write true or false")


@kinds.checked(environ=ENVIRON)
def vector_instructions(environ: Mapping[str, str] | None = None) -> str:
    """The vector instructions that a run here computes with, and what limits them.

    Parameters
    ----------
    environ : mapping, optional
        The environment; by default the process's own.

    Returns
    -------
    str

    Raises
    ------
    ProfileError
        If the environment's configuration cannot be read or contradicts itself.

    Examples
    --------
    >>> vector_instructions({"THEANO_FLAGS": "fastvae.isa=avx2"}).split()[0]
    'AVX2'
    """
    environ = os.environ if environ is None else environ
    layers = _layers(environ)
    _, parts = _requested(None, environ, layers)
    settings = _merged([*((f"profile {part}", _read(part)) for part in parts if part != "auto"), *layers])
    isa.limit(settings)
    return isa.describe(settings)


def _unusable(profile: Profile, broken: list[Finding]) -> str:
    source = f" (cxx is set by {profile.settings['cxx'][1]})" if "cxx" in profile.settings else ""
    return f"theano cannot be used on this machine{source}: " + ". ".join(map(str, broken))


def _unavailable(profile: Profile, missing: list[Finding]) -> str:
    device, layer = profile.settings["device"]
    what = f"profile {profile.requested!r}" if layer.startswith("profile ") else f"device={device} (from {layer})"
    return f"{what} is not available on this machine: " + ". ".join(map(str, missing))


def _link_blas(settings: Settings) -> Finding:
    """The BLAS to link; sets `blas.ldflags` unless the user did."""
    if "blas.ldflags" not in settings:
        finding = devices.blas()
        if finding.found:
            settings["blas.ldflags"] = (blas_library.link_flags(finding.path), "resolved here")
        return finding
    flags, layer = settings["blas.ldflags"]
    if not flags.strip():
        return Finding("BLAS", True, NUMPY)
    return Finding("BLAS", True, f"{flags} from {layer}", blas_library.linked_library(flags) or "")


def _cuda_path(settings: Settings) -> str | None:
    return settings["fastvae.cuda_path"][0] if "fastvae.cuda_path" in settings else None


def _kernel_cache(settings: Settings) -> str:
    """The folder of libgpuarray's kernel cache: one for each version of nvrtc, which the cache does not tell apart."""
    base = settings.get("base_compiledir", ("~/.theano", ""))[0]
    _, nvrtc, *_ = cuda_libraries.find(settings["device"][0], _cuda_path(settings))
    return os.path.join(base, f"gpuarray_kernels_nvrtc_{nvrtc.version or 'unknown'}")


def listing() -> str:
    """All profiles, one line each: what it is, and what is missing for it here.

    Returns
    -------
    str
    """
    width = max(map(len, names()))
    lines = []
    for name in names():
        values = _read(name)
        missing = [finding.name for finding in _missing(_merged([("", values)]))] if "device" in values else []
        state = f" [not here: {', '.join(missing)} missing]" * bool(missing)
        lines.append(f"{name:{width}}  {values['fastvae.about']}{state}")
    lines.append(f"{'auto':{width}}  the best of {', '.join(AUTO)} that works here (the default)")
    lines.append("Profiles are composed with colons, the right one takes precedence: cuda:deterministic.")
    lines.append("`fastvae profiles show NAME` shows every key and where it comes from.")
    return "\n".join(lines)


@kinds.checked(name=kinds.optional(kinds.text), environ=ENVIRON)
def explain(name: str | None = None, environ: Mapping[str, str] | None = None) -> str:
    """A profile key by key: every effective value with the layer that set it, and what is missing for it here.

    Parameters
    ----------
    name : str, optional
    environ : mapping, optional
        Both as for `resolve`.

    Returns
    -------
    str
    """
    profile, broken, missing = _resolve(name, os.environ if environ is None else environ)
    lines = [f"profile {profile.name}: " + "; ".join(_read(part)["fastvae.about"] for part in profile.name.split(":"))]
    lines += [profile.reason] * bool(profile.reason)
    lines += [_unusable(profile, broken)] * bool(broken) + [_unavailable(profile, missing)] * bool(missing)
    lines += [f"BLAS: {profile.blas}", f"vector instructions: {profile.instructions}"]
    width = max(map(len, profile.settings))
    lines += [f"{key:{width}} = {value}  [{layer}]" for key, (value, layer) in profile.settings.items()]
    return "\n".join(lines)
