"""Every PTX instruction computes what exact arithmetic does: edges and random operands, each type and rounding."""

import itertools
import math
import struct
from fractions import Fraction

import numpy as np
import pytest

from tests.cuda_device.direct import HEADER
from tests.cuda_device.ptx.exact import DTYPES, clamped, rounded, whole, wrapped

N = 192  # operands of each case
UNSIGNED, SIGNED, FLOATS = ("u16", "u32", "u64"), ("s16", "s32", "s64"), ("f16", "f32", "f64")
CASES = {}  # the instruction: kinds of the result and the operands, and the oracle


def bits(kind):
    return np.dtype(DTYPES[kind]).itemsize * 8


def case(instruction, kinds, oracle):
    CASES[instruction] = (kinds.split() if isinstance(kinds, str) else kinds, oracle)


def integer(instruction, kind, n, oracle):
    case(f"{instruction}.{kind}", [kind] * (n + 1), lambda *operands: wrapped(oracle(*operands), kind))


def quotient(a, b):
    return -1 if b == 0 else abs(a) // abs(b) * (1 if (a < 0) == (b < 0) else -1)


for kind in (*UNSIGNED, *SIGNED):
    n, other = bits(kind), "u" + kind[1:]
    integer("add", kind, 2, lambda a, b: a + b)
    integer("sub", kind, 2, lambda a, b: a - b)
    integer("mul.lo", kind, 2, lambda a, b: a * b)
    integer("mul.hi", kind, 2, lambda a, b, n=n: a * b >> n)
    integer("mad.lo", kind, 3, lambda a, b, c: a * b + c)
    integer("mad.hi", kind, 3, lambda a, b, c, n=n: (a * b >> n) + c)
    integer("div", kind, 2, quotient)
    integer("rem", kind, 2, lambda a, b: a if b == 0 else a - quotient(a, b) * b)
    integer("min", kind, 2, min)
    integer("max", kind, 2, max)
    case(f"shr.{kind}", f"{kind} {kind} u32", lambda a, b, n=n: a >> min(b, n))
    for name, compare in {"eq": "__eq__", "ne": "__ne__", "lt": "__lt__", "le": "__le__", "gt": "__gt__"}.items():
        case(f"setp.{name}.{kind}", f"pred {kind} {kind}", lambda a, b, c=compare: getattr(a, c)(b))
    if n < 64:
        wide = kind[0] + str(2 * n)
        case(f"mul.wide.{kind}", f"{wide} {kind} {kind}", lambda a, b: a * b)
        case(f"mad.wide.{kind}", f"{wide} {kind} {kind} {wide}", lambda a, b, c, w=wide: wrapped(a * b + c, w))
for kind in SIGNED:
    integer("neg", kind, 1, lambda a: -a)
    integer("abs", kind, 1, abs)
for kind in ("b16", "b32", "b64"):
    n = bits(kind)
    integer("and", kind, 2, lambda a, b: a & b)
    integer("or", kind, 2, lambda a, b: a | b)
    integer("xor", kind, 2, lambda a, b: a ^ b)
    integer("not", kind, 1, lambda a: ~a)
    integer("cnot", kind, 1, lambda a: a == 0)
    case(f"shl.{kind}", f"{kind} {kind} u32", lambda a, b, k=kind: wrapped(a << min(b, 64), k))
    case(f"selp.{kind}", f"{kind} {kind} {kind} pred", lambda a, b, p: a if p else b)
    case(f"mov.{kind}", f"{kind} {kind}", lambda a: a)
for kind in ("b32", "b64"):
    n = bits(kind)
    case(f"popc.{kind}", f"u32 {kind}", lambda a: a.bit_count())
    case(f"clz.{kind}", f"u32 {kind}", lambda a, n=n: n - a.bit_length())
    integer("brev", kind, 1, lambda a, n=n: int(f"{a:0{n}b}"[::-1], 2))


def field(a, at, width, kind):
    """bfe: bits from `at` on, the sign's beyond the number; a field's highest bit is a signed one's sign."""
    n, at, width = bits(kind), at & 255, width & 255
    if not width:
        return 0
    found = [(a >> min(at + i, n - 1)) & 1 if kind[0] == "s" or at + i < n else 0 for i in range(min(width, n))]
    if kind[0] == "s":
        found += [(a >> min(at + width - 1, n - 1)) & 1] * (n - len(found))
    return wrapped(sum(bit << i for i, bit in enumerate(found)), kind)


def inserted(a, b, at, width, kind):
    """bfi: the lowest bits of a, in b from `at` on."""
    n, at, width = bits(kind), at & 255, width & 255
    mask = ((1 << width) - 1) << at & ((1 << n) - 1)
    return (b & ~mask) | (a << at & mask)


for kind in ("u32", "s32", "u64", "s64"):
    case(f"bfe.{kind}", f"{kind} {kind} small small", lambda a, p, w, k=kind: field(a, p, w, k))
    find = f"bfind.{kind}"
    case(find, f"u32 {kind}", lambda a: ((~a if a < 0 else a).bit_length() - 1) & 0xFFFFFFFF)
for kind in ("b32", "b64"):
    case(f"bfi.{kind}", f"{kind} {kind} {kind} small small", lambda a, b, p, w, k=kind: inserted(a, b, p, w, k))


def permuted(a, b, choice):
    source = [(b << 32 | a) >> 8 * i & 255 for i in range(8)]
    picks = [choice >> 4 * i & 15 for i in range(4)]
    out = [source[pick & 7] if pick < 8 else (255 if source[pick & 7] & 128 else 0) for pick in picks]
    return sum(byte << 8 * i for i, byte in enumerate(out))


case("prmt.b32", "b32 b32 b32 b32", permuted)
case("shf.l.wrap.b32", "b32 b32 b32 small", lambda a, b, c: (b << 32 | a) << (c & 31) >> 32 & 0xFFFFFFFF)
case("shf.r.wrap.b32", "b32 b32 b32 small", lambda a, b, c: (b << 32 | a) >> (c & 31) & 0xFFFFFFFF)
case("shf.l.clamp.b32", "b32 b32 b32 small", lambda a, b, c: (b << 32 | a) << min(c, 32) >> 32 & 0xFFFFFFFF)
case("shf.r.clamp.b32", "b32 b32 b32 small", lambda a, b, c: (b << 32 | a) >> min(c, 32) & 0xFFFFFFFF)
case("lop3.b32 {d}, {a}, {b}, {c}, 0xE8", "b32 b32 b32 b32", lambda a, b, c: (a & b) | (b & c) | (a & c))
case("mul24.lo.u32", "u32 u32 u32", lambda a, b: (a & 0xFFFFFF) * (b & 0xFFFFFF) & 0xFFFFFFFF)
case("sad.s32", "u32 s32 s32 u32", lambda a, b, c: (c + abs(a - b)) & 0xFFFFFFFF)


# -- floats: the oracle is a fraction, or None where an operand is not finite and numpy's own result is the oracle


def plain_float(operation, values, kind):
    with np.errstate(all="ignore"):
        values = list(map(np.float64, values))
        results = {"add": lambda a, b: a + b, "sub": lambda a, b: a - b, "mul": lambda a, b: a * b}
        results |= {"div": lambda a, b: a / b, "fma": lambda a, b, c: a * b + c, "sqrt": np.sqrt}
        return float(results[operation](*values).astype(DTYPES[kind]))


def exact(operation, *values):
    a, *rest = map(Fraction, values)
    if operation == "div":
        return a / rest[0]
    if operation == "fma":
        return a * rest[0] + rest[1]
    return {"add": a.__add__, "sub": a.__sub__, "mul": a.__mul__}[operation](rest[0])


def float_oracle(operation, kind, how):
    def oracle(*values):
        if not all(map(math.isfinite, values)) or (operation == "div" and values[1] == 0):
            return plain_float(operation, values, kind)
        result = rounded(exact(operation, *values), kind, how)
        if result == 0:  # its sign: numpy's, which rounds to nearest; a sum that vanishes is -0 when rounded down
            return 0.0
        return result

    return oracle


for kind in ("f32", "f64"):
    for how in ("rn", "rz", "rm", "rp"):
        for operation, n in {"add": 2, "sub": 2, "mul": 2, "div": 2, "fma": 3}.items():
            case(f"{operation}.{how}.{kind}", [kind] * (n + 1), float_oracle(operation, kind, how))
    case(f"rcp.rn.{kind}", [kind] * 2, lambda a, k=kind: float_oracle("div", k, "rn")(1.0, a))
    case(f"copysign.{kind}", [kind] * 3, lambda a, b: math.copysign(b, a))
    for name, holds in {"finite": math.isfinite, "infinite": math.isinf, "notanumber": math.isnan}.items():
        case(f"testp.{name}.{kind}", f"pred {kind}", holds)
for operation, n in {"add": 2, "sub": 2, "mul": 2, "fma": 3}.items():
    case(f"{operation}.rn.f16", ["f16"] * (n + 1), float_oracle(operation, "f16", "rn"))


def extreme(a, b, largest):
    if math.isnan(a) or math.isnan(b):
        return b if math.isnan(a) else a
    return max(a, b) if largest else min(a, b)


for kind in FLOATS:
    case(f"min.{kind}", [kind] * 3, lambda a, b: extreme(a, b, False))
    case(f"max.{kind}", [kind] * 3, lambda a, b: extreme(a, b, True))
    case(f"neg.{kind}", [kind] * 2, lambda a: -a)
    case(f"abs.{kind}", [kind] * 2, abs)
    for name, compare in {"eq": "__eq__", "lt": "__lt__", "le": "__le__", "gt": "__gt__", "ge": "__ge__"}.items():
        case(f"setp.{name}.{kind}", f"pred {kind} {kind}", lambda a, b, c=compare: getattr(a, c)(b))
        unordered = lambda a, b, c=compare: math.isnan(a) or math.isnan(b) or getattr(a, c)(b)  # noqa: E731
        case(f"setp.{name}u.{kind}", f"pred {kind} {kind}", unordered)
    case(f"setp.ne.{kind}", f"pred {kind} {kind}", lambda a, b: a == a and b == b and a != b)
    case(f"setp.neu.{kind}", f"pred {kind} {kind}", lambda a, b: a != b)
    case(f"setp.nan.{kind}", f"pred {kind} {kind}", lambda a, b: a != a or b != b)
    case(f"setp.num.{kind}", f"pred {kind} {kind}", lambda a, b: a == a and b == b)
case("add.sat.f32", "f32 f32 f32", lambda a, b: min(max(rounded_sum(a, b), 0.0), 1.0) if a + b == a + b else 0.0)
case("max.NaN.f32", "f32 f32 f32", lambda a, b: math.nan if a != a or b != b else max(a, b))


def rounded_sum(a, b):
    return a + b if not math.isfinite(a + b) else rounded(Fraction(a) + Fraction(b), "f32")


def flush(a):
    return math.copysign(0.0, a) if abs(a) < 2.0**-126 else a


def flushed_product(a, b):
    a, b = flush(a), flush(b)
    return flush(float_oracle("mul", "f32", "rn")(a, b))


case("mul.ftz.f32", "f32 f32 f32", flushed_product)

# -- conversions


def to_integer(value, kind, how):
    if math.isnan(value):
        return 0
    return (
        clamped(whole(Fraction(value), how), kind)
        if math.isfinite(value)
        else clamped(math.copysign(2.0**70, value), kind)
    )


INTEGERS = ("u8", "s8", *UNSIGNED, *SIGNED)
for to, kind in itertools.product(INTEGERS, INTEGERS):
    case(f"cvt.{to}.{kind}", f"{to} {kind}", lambda a, t=to: wrapped(a, t))
    if to != kind:
        case(f"cvt.sat.{to}.{kind}", f"{to} {kind}", lambda a, t=to: clamped(a, t))
for to, kind, how in itertools.product(INTEGERS, FLOATS, ("rni", "rzi", "rmi", "rpi")):
    case(f"cvt.{how}.{to}.{kind}", f"{to} {kind}", lambda a, t=to, h=how: to_integer(a, t, h))
for to, kind, how in itertools.product(FLOATS, INTEGERS, ("rn", "rz", "rm", "rp")):
    if to != "f16" or how == "rn":
        case(f"cvt.{how}.{to}.{kind}", f"{to} {kind}", lambda a, t=to, h=how: rounded(Fraction(a), t, h))
for kind, how in itertools.product(FLOATS, ("rni", "rzi", "rmi", "rpi")):
    case(
        f"cvt.{how}.{kind}.{kind}",
        f"{kind} {kind}",
        lambda a, h=how: float(whole(Fraction(a), h)) if math.isfinite(a) else a,
    )
for how in ("rn", "rz", "rm", "rp"):
    narrowed = lambda a, h=how: rounded(Fraction(a), "f32", h) if math.isfinite(a) else a  # noqa: E731
    case(f"cvt.{how}.f32.f64", "f32 f64", narrowed)
case("cvt.f64.f32", "f64 f32", lambda a: a)
case("cvt.f32.f16", "f32 f16", lambda a: a)
case("cvt.rn.f16.f32", "f16 f32", lambda a: rounded(Fraction(a), "f16") if math.isfinite(a) else a)
case("cvt.sat.f32.f32", "f32 f32", lambda a: 0.0 if a != a else min(max(a, 0.0), 1.0))

# -- NVIDIA's approximations, which the device takes as exact: close is enough
CLOSE = {
    "sin.approx.f32": np.sin,
    "cos.approx.f32": np.cos,
    "ex2.approx.f32": np.exp2,
    "lg2.approx.f32": np.log2,
    "tanh.approx.f32": np.tanh,
    "sqrt.rn.f32": np.sqrt,
    "rsqrt.approx.f32": lambda a: 1 / np.sqrt(a),
    "rcp.approx.ftz.f32": lambda a: 1 / a,
    "div.full.f32 {d}, {a}, {a}": lambda a: a / a,
}


def operands(kind, rng):
    """Edges of a kind, and random numbers of every size."""
    if kind == "small":
        return rng.integers(0, 70, N).astype("uint32")
    if kind == "pred":
        return rng.integers(0, 2, N).astype("uint32")
    dtype = np.dtype(DTYPES[kind])
    if kind[0] == "f":
        info = np.finfo(dtype)
        edges = [0.0, -0.0, 1.0, -1.0, 0.5, 1.5, 2.5, -2.5, np.inf, -np.inf, np.nan, info.max, -info.max, info.tiny]
        edges += [info.smallest_subnormal, -3 * info.smallest_subnormal, 255.5, -128.5, 65535.7, 1.0 + info.eps]
        exponents = rng.integers(-14 if kind == "f16" else -40, 15 if kind == "f16" else 40, N)
        values = rng.normal(size=N) * 2.0**exponents
    else:
        limits = np.iinfo(dtype)
        edges = [0, 1, 2, 3, int(limits.max), int(limits.min), int(limits.max) - 1, int(limits.min) + 1, 7, 31, 32]
        values = [
            int(value) >> int(shift)
            for value, shift in zip(
                rng.integers(limits.min, limits.max, N, dtype), rng.integers(0, dtype.itemsize * 8, N)
            )
        ]
    with np.errstate(all="ignore"):
        values = np.array(values).astype(dtype)
        places = rng.permutation(N)[: N // 2]
        values[places] = np.array(edges, dtype=dtype)[rng.integers(0, len(edges), len(places))]
    return values


def register(kind):
    """A register's type, and the type of its load: predicates come as 32 bits, bytes in registers of 16."""
    width = {"pred": 32, "small": 32}.get(kind) or bits(kind)
    if kind[0] == "f" and width > 16:
        return kind, kind
    return f"b{max(width, 16)}", f"u{width}"


def entry(number, instruction, kinds):
    """One kernel: operands from arrays, the instruction, its result to an array."""
    names = "dabc"
    text = [f".visible .entry k{number}(" + ", ".join(f".param .u64 p{i}" for i in range(len(kinds))) + ") {"]
    text += [".reg .b32 %i; .reg .b64 %offset; .reg .pred %q;"]
    body = ["mov.u32 %i, %tid.x;"]
    for i, kind in enumerate(kinds):
        own, load = register(kind)
        text += [f".reg .{own} %v{i}; .reg .b64 %at{i}; .reg .pred %p{i};"]
        body += [f"ld.param.u64 %at{i}, [p{i}];", f"mul.wide.u32 %offset, %i, {int(load[1:]) // 8};"]
        body += [f"add.s64 %at{i}, %at{i}, %offset;"]
        if i:
            body += [f"ld.global.{load} %v{i}, [%at{i}];"]
        if i and kind == "pred":
            body += [f"setp.ne.u32 %p{i}, %v{i}, 0;"]
    places = {name: f"%{'p' if kind == 'pred' else 'v'}{i}" for i, (name, kind) in enumerate(zip(names, kinds))}
    if len(kinds) > len(names):
        places["e"] = "%v4"
    own = instruction.format(**places) if "{" in instruction else f"{instruction} {', '.join(places.values())}"
    body += [own + ";"]
    if kinds[0] == "pred":
        body += ["selp.b32 %v0, 1, 0, %p0;"]
    return "\n".join([*text, *body, f"st.global.{register(kinds[0])[1]} [%at0], %v0;", "ret;", "}"])


def stored(kind):
    return np.dtype("uint32") if kind in ("pred", "small") else np.dtype(DTYPES[kind])


@pytest.fixture(scope="module")
def results(device):
    """Of every case its operands and what the device made of them; all kernels are one module."""
    rng = np.random.default_rng(0)
    cases = {**{name: kinds for name, (kinds, _) in CASES.items()}, **dict.fromkeys(CLOSE, ["f32", "f32"])}
    ptx = HEADER + "\n".join(entry(i, name, kinds) for i, (name, kinds) in enumerate(cases.items()))
    found = {}
    module = device.module(ptx)
    for i, (name, kinds) in enumerate(cases.items()):
        given = [operands(kind, rng) for kind in kinds[1:]]
        if name in CLOSE:
            given = [np.abs(rng.normal(size=N)).astype("float32") + np.float32(0.01)]
        out = np.zeros(N, stored(kinds[0]))
        addresses = [device.upload(array) for array in (out, *given)]
        device.launch(device.function(module, f"k{i}"), 1, N, *addresses)
        found[name] = given, device.download(addresses[0], out)
        for address in addresses:
            device.free(address)
    return found


def python_values(array, kind):
    return [bool(v) if kind == "pred" else v for v in array.tolist()]


def families(names):
    """Cases by the first part of their name."""
    found = {}
    for name in names:
        found.setdefault(name.split()[0].split(".")[0], []).append(name)
    return found


@pytest.mark.parametrize("family", families(CASES))
def test_an_instruction_is_exact(results, family):
    for name in families(CASES)[family]:
        kinds, oracle = CASES[name]
        given, got = results[name]
        columns = [python_values(array, kind) for array, kind in zip(given, kinds[1:])]
        got = python_values(got, kinds[0])
        for values, mine in zip(zip(*columns), got):
            wanted = oracle(*values)
            same = mine == wanted or (mine != mine and wanted != wanted)
            assert same, f"{name} of {values} is {mine}, not {wanted}"


@pytest.mark.parametrize("name", CLOSE)
def test_an_approximation_is_close(results, name):
    (given,), got = results[name]
    np.testing.assert_allclose(got, CLOSE[name](given.astype("float64")), rtol=2e-7, atol=1e-7)


def test_a_float_is_rounded_as_struct_does():
    for value in (0.1, 1e-40, 3.4e38, -2.5e-45):
        assert rounded(Fraction(value), "f32") == struct.unpack("f", struct.pack("f", value))[0]
