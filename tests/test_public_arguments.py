"""Every parameter of every public function has a declared kind, and wrong values of each end in one line.

The walk goes by the signatures, so that a new argument cannot be forgotten. What is wrong for a parameter comes from
the pool here and not from the check: a value of the pool is admissible only where the parameter's kind names it.
"""

import enum
import functools
import inspect
import os
import time
import types

import numpy as np
import pymc3 as pm
import pytest
import theano
import theano.tensor as tt

import fastvae
from fastvae import errors, stack, training
from fastvae.kinds import shown

# Of the public modules' namespaces, but parts for other rooms.
INTERNAL = {"Finding", "ask", "find_library", "version_of", "activated", "active", "Checkpoints", "updated"}
INTERNAL |= {"graph_digest", "figure_of"}
# It stands alone, so that programs without fastvae load it: its checks are its own, see tests/test_timing.py.
STANDS_ALONE = ("timing",)

SHARED = theano.shared(np.float32(0.5), name="shared")
NAN, INF = float("nan"), float("inf")
POOL = {
    "none": [None],
    "boolean": [True, np.True_],
    "natural": [1, np.int64(2)],
    "zero": [0],
    "negative": [-1],
    "large": [2**70],
    "too large": [10**400],
    "float": [0.5, np.float32(0.5)],
    "negative float": [-0.5],
    "not finite": [NAN, INF, -INF, np.float32(NAN), 1e39],
    "empty text": [""],
    "text": ["no such choice"],
    "bytes": [b"x"],
    "object": [object(), int, 1j],
    "array": [np.ones(3, "float32"), np.zeros((2, 2), int)],
    "empty list": [[]],
    "list": [[1], (2, 3)],
    "list of functions": [[len]],
    "bad list": [[object()], [None], ["a", 1.5], [NAN]],
    "dict": [{}],
    "set": [{1}],
    "function": [len],
    "variable": [tt.scalar("free"), tt.vector("axes")],
    "shared": [SHARED],
    "slice": [slice(3), types.SimpleNamespace()],
}
# What of the pool is admissible, by the name of a kind; for an "optional KIND" None too.
TENSORS = {"boolean", "natural", "zero", "negative", "float", "negative float", "not finite", "array", "list", "large"}
ADMISSIBLE = {
    "anything": set(POOL),
    "integer": {"natural"},
    "integer from 0": {"natural", "zero"},
    "integer from 2": {"natural"},
    "number": {"natural", "zero", "negative", "float", "negative float", "large"},
    "number above 0": {"natural", "float", "large"},
    "number above 1e-05": {"natural", "float", "large"},
    "number of at least 0": {"natural", "zero", "float", "large"},
    "number of at least 0 and below 1": {"zero", "float"},
    "boolean": {"boolean"},
    "choice": set(),
    "path": {"text"},
    "text": {"text"},
    "function": {"function", "object"},  # `int` is a function too
    "dict": {"dict"},
    "params": set(),
    "loss": {"variable", "shared"},
    "mapping": {"dict"},
    "string": {"text", "empty text"},
    "theano scalar": {"shared"},
    "tensor": TENSORS | {"variable", "shared", "empty list", "object", "bad list"},
    "variable": {"variable", "shared"},
    "shared variable": {"shared"},
    "pair": {"natural", "list"},
    "pair from 0": {"natural", "zero", "list"},
    "generator": set(),
    "group": set(),
    "ranks": set(),
    "object": set(),
    "model": set(),
    "estimate": set(),
    "method": set(),
    "part": set(),
    "device": set(),
    "likelihood": set(),
    "posterior": set(),
    "shape": set(),
    "axes": set(),
}


def admissible(name):
    """The categories of the pool that a kind of this name may take."""
    if name.startswith("optional "):
        return {"none"} | admissible(name.removeprefix("optional "))
    if name.endswith(" or several"):
        return {"list", "empty list", "set"} | admissible(name.removesuffix(" or several"))
    if name.endswith(" each"):
        return {"list"} | admissible(name.removesuffix(" each"))
    if name.startswith("three of "):
        return {"list"} | admissible(name.removeprefix("three of "))
    if " or " in name:
        return set().union(*map(admissible, name.split(" or ")))
    if name.startswith("list of "):
        lists = {"natural": "list", "function": "list of functions", "object": "bad list"}
        of = admissible(name.removeprefix("list of "))
        return {"empty list"} | {lists[category] for category in of & lists.keys()}
    return ADMISSIBLE[name]


def public():
    """(name, function, whether it is a method) of what users call: of the package, its modules and their classes."""
    found = {"stack.start": (stack.start, False)}
    for name in fastvae.__all__:
        value = getattr(fastvae, name)
        if isinstance(value, types.ModuleType):
            names = getattr(value, "__all__", [key for key in vars(value) if not key.startswith("_")])
            inside = {f"{name}.{key}": getattr(value, key) for key in names if key not in INTERNAL}
            prefix = value.__name__
        else:
            inside, prefix = {name: value}, "fastvae"
        if name in STANDS_ALONE:
            continue
        for path, member in inside.items():
            if not str(getattr(member, "__module__", "")).startswith((prefix, "fastvae.distributions.")):
                continue
            if inspect.isfunction(member):
                found[path] = member, False
            elif inspect.isclass(member) and not is_result(member):
                for key, method in vars_of(member).items():
                    found[f"{path}.{key}"] = method, True
    return found


def is_result(cls):
    """Whether a class is of errors or results, which users do not construct."""
    return issubclass(cls, (BaseException, tuple, enum.Enum)) or hasattr(cls, "__dataclass_fields__")


def vars_of(cls):
    """The public methods that fastvae gives a class, and its constructor and call."""
    methods = {}
    for base in reversed(cls.__mro__):
        if base.__module__.startswith("fastvae"):
            methods.update({key: value for key, value in vars(base).items() if inspect.isfunction(value)})
    return {
        key: method
        for key, method in methods.items()
        if (not key.startswith("_") or key in ("__init__", "__call__")) and not is_abstract(method)
    }


def is_abstract(method):
    return getattr(method, "__isabstractmethod__", False) or method.__name__ in PROTOCOL


PROTOCOL = {"encode", "decode", "decode_output", "set_params", "checked_images"}  # for subclasses, not for users
PUBLIC = public()


def parameters(function):
    """The parameters that need a kind: those of the signature, and what `**kwargs` passes on."""
    signature = inspect.signature(function).parameters.values()
    named = [parameter.name for parameter in signature if parameter.kind is not parameter.VAR_KEYWORD]
    return [name for name in dict.fromkeys([*named, *getattr(function, "kinds", ())]) if name != "self"]


def test_the_walk_finds_what_users_call():
    assert {"fit", "adam", "ConvVAE.fit", "VAE.__init__", "nn.Linear.__call__", "datasets.load"} <= PUBLIC.keys()
    assert len(PUBLIC) > 80


@pytest.mark.parametrize("name", PUBLIC)
def test_every_parameter_has_a_declared_kind(name):
    function, _ = PUBLIC[name]
    missing = [parameter for parameter in parameters(function) if parameter not in getattr(function, "kinds", {})]
    assert not missing, f"{name}: declare the kind of {missing} in @kinds.checked"


def test_what_fit_passes_on_has_a_kind():
    passed_on = set(inspect.signature(fastvae.elbo.step_updates).parameters) - {"pm_objective"}
    assert passed_on <= training.fit.kinds.keys() and passed_on <= fastvae.VAE.fit.kinds.keys()


@pytest.fixture
def nothing_else(monkeypatch, tmp_path):
    """Neither a compilation nor a file comes of a refused call."""

    def compiles(*args, **kwargs):
        raise AssertionError("something is compiled")

    monkeypatch.setattr(theano, "function", compiles)
    monkeypatch.chdir(tmp_path)
    yield
    assert os.listdir(tmp_path) == []


def refused(call, parameter, value):
    with pytest.raises(errors.FastvaeError) as caught:
        call(**{parameter: value})
    assert isinstance(caught.value, (errors.ConfigurationError, errors.DataError))
    text = str(caught.value)
    found = [f": {parameter}={shown(value)} must be ", *[f"{parameter}: found"] * isinstance(value, list)]
    assert "\n" not in text and any(words in text for words in found) and len(text) < 500


@pytest.mark.parametrize("name", PUBLIC)
def test_wrong_values_end_in_one_line(name, nothing_else):
    function, is_method = PUBLIC[name]
    started = time.process_time()
    call = functools.partial(function, object()) if is_method else function
    for parameter in parameters(function):
        for category in POOL.keys() - admissible(function.kinds[parameter].name):
            for value in POOL[category]:
                try:
                    refused(call, parameter, value)
                except BaseException as error:
                    what = f"{name}({parameter}={shown(value)})"
                    raise AssertionError(f"{what}: {type(error).__name__} {error}") from None
    assert time.process_time() - started < 5


IMAGES = np.full((12, 1, 4, 4), 0.5, "float32")
GOOD = dict(n=1, batch_size=4, seed=1, progressbar=False)
WRONG = [
    dict(learning_rate=True),
    dict(learning_rate=0),
    dict(learning_rate=tt.scalar("rate")),
    dict(kl_weight=tt.scalar("weight") * SHARED),
    dict(kl_weight=True),
    dict(kl_weight=-1),
    dict(checkpoint=5),
    dict(checkpoint=""),
    dict(history=5),
    dict(history=""),
    dict(callbacks=[1]),
    dict(obj_optimizer="adam"),
    dict(n=2**70),
    dict(n=True),
    *(dict(total_grad_norm_constraint=value) for value in (-1, 0, NAN, INF, True, "1")),
    dict(patience=2),
    dict(held_out_every="5"),
    dict(progressbar="no"),
    dict(resume="yes"),
    dict(score="x"),
    dict(fold="yes"),
    *(dict(seed=value) for value in (2**70, 2**32, -1, 1.0, True, "1")),
    dict(bad_steps="ignore"),
    dict(objective=["elbo"]),
    dict(more_obj_params=[1]),
    dict(more_updates={"w": 1}),
    dict(fn_kwargs={"no_such": 1}),
    dict(fn_kwargs={"updates": []}),
    dict(fn_kwargs={"mode": "no such"}),
]


@pytest.fixture(scope="module")
def vae():
    return fastvae.MLPVAE(image_shape=(1, 4, 4), hidden=4, seed=0)


@pytest.mark.parametrize("wrong", WRONG, ids=str)
def test_a_fit_with_one_wrong_argument(vae, wrong, nothing_else):
    (name,) = wrong
    with pytest.raises(errors.ConfigurationError, match=rf"^[^\n]*\b{name}=[^\n]*$"):
        vae.fit(IMAGES, **{**GOOD, **wrong})


WRONG_DICTS = ("inf_kwargs", "start", "local_rv", "fn_kwargs", "held_out", "more_updates", "more_replacements")


@pytest.mark.parametrize("name", WRONG_DICTS)
def test_what_must_be_a_dict(name, nothing_else):
    with pm.Model():
        pm.Normal("x", pm.Normal("mu", 0, 1), 1, observed=np.ones(3, "float32"))
        with pytest.raises(errors.ConfigurationError, match=rf"^fit: {name}=\[\(1, 2\)\] must be "):
            fastvae.fit(1, **{name: [(1, 2)]})


def test_an_optimizer_that_returns_no_updates():
    with pm.Model():
        pm.Normal("mu", 0, 1)
        with pytest.raises(errors.ConfigurationError, match=r"returned None.* give .*fastvae.adam\(lear"):
            fastvae.fit(1, obj_optimizer=lambda gradients, params: None, progressbar=False)


def test_admissible_values_of_other_types_are_taken(vae, tmp_path):
    approx = vae.fit(
        IMAGES,
        n=np.int32(2),
        batch_size=np.int64(4),
        learning_rate=SHARED * np.float32(0.01),
        seed=2**32 - 1,
        total_grad_norm_constraint=np.float64(5),
        score=np.True_,
        callbacks=(lambda *_: None,),
        progressbar=np.False_,
        held_out=IMAGES,
        held_out_every=np.int8(1),
        patience=3,
        history=tmp_path / "h.csv",
        checkpoint=str(tmp_path),
        resume=np.True_,
        n_samples=np.int16(1),
        kl_weight=fastvae.schedules.linear(0, 1, np.int8(3)),
        fold=None,
    )
    assert len(approx.hist) == 2 and len(approx.held_out_hist) == 2
    fastvae.ConvVAE((1, 8, 8), kernels=[3, (1, 1), np.int64(3)], padding=["valid", 0, (0, 0)], filters=np.int8(2))
    assert fastvae.likelihoods.Normal(sd=np.float32(0.5), learn_sd=np.False_).config["learn_sd"] is False


@pytest.mark.parametrize("seed", [0, 2147462579, 2**32 - 1])
def test_every_admissible_seed_is_one_of_theanos_streams(seed):
    hists = []
    for _ in range(2):
        with pm.Model():
            pm.Normal("mu", 0, 1)
            options = dict(random_seed=seed, progressbar=False, fn_kwargs=dict(mode="FAST_COMPILE"))
            hists.append(fastvae.fit(2, **options).hist)
    assert np.array_equal(*hists) and np.isfinite(hists).all()


def test_more_steps_than_memory_holds_losses_of(vae):
    def end(approx, losses, step):
        if step == 2:
            raise StopIteration

    assert vae.fit(IMAGES, **{**GOOD, "n": 10**12}, callbacks=[end]).hist.shape == (2,)


@pytest.mark.parametrize("model", ["MLPVAE", "ConvVAE"])
def test_a_network_too_large_for_memory(model, monkeypatch):
    def uniform(*args):
        raise MemoryError("Unable to allocate 6.12 TiB")

    monkeypatch.setattr(fastvae.nn.Layer, "add_parameter", uniform)
    message = rf"^{model}: out of memory [^\n]*6.12 TiB[^\n]*the size of the network"
    with pytest.raises(errors.OutOfMemoryError, match=message):
        getattr(fastvae, model)()


def test_pictures_of_what_is_no_array_of_numbers():
    for draw in (
        lambda wrong: fastvae.plots.loss_curve(wrong, 4),
        fastvae.plots.latent_scatter,
        lambda wrong: fastvae.plots.reconstructions(wrong, wrong),
    ):
        for wrong in (None, object(), "abc", [[1], [1, 2]]):
            with pytest.raises(errors.DataError, match=r"^(hist|means|originals)=[^\n]* must be an array of numbers"):
                draw(wrong)
