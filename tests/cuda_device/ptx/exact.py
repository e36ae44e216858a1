"""Exact arithmetic for the tests of PTX: fractions, rounded once in any direction, and integers of a width."""

import math
from fractions import Fraction

import numpy as np

PRECISION = {"f16": (11, -24), "f32": (24, -149), "f64": (53, -1074)}  # bits, exponent of the smallest number
NAMES = {"f": "float", "u": "uint", "s": "int", "b": "uint"}
DTYPES = {f"{kind}{bits}": np.dtype(f"{NAMES[kind]}{bits}") for kind in "usb" for bits in (8, 16, 32, 64)}
DTYPES |= {kind: np.dtype(f"float{kind[1:]}") for kind in PRECISION}


def whole(x, how):
    """A fraction as an integer: to nearest, even where two are as near, towards 0, down, or up."""
    if how in ("rn", "rni"):
        return round(x)
    return {"z": math.trunc, "m": math.floor, "p": math.ceil}[how[1]](x)


def rounded(x, kind, how="rn"):
    """A fraction as a float of a kind."""
    bits, least = PRECISION[kind]
    if x == 0:
        return 0.0
    exponent = max(math.frexp(abs(x))[1] if isinstance(x, float) else _exponent(abs(x)), least + bits) - bits
    scaled = whole(x / Fraction(2) ** exponent, how)
    largest = float(np.finfo(DTYPES[kind]).max)
    value = scaled * Fraction(2) ** exponent
    if abs(value) > Fraction(largest):
        inward = how == "rz" or (how == "rm" and x > 0) or (how == "rp" and x < 0)
        return (largest if inward else math.inf) * (1 if x > 0 else -1)
    return float(value)


def _exponent(x):
    """The exponent e with 2**(e - 1) <= x < 2**e."""
    e = x.numerator.bit_length() - x.denominator.bit_length()
    return e + (x >= Fraction(2) ** e)


def clamped(x, kind):
    """An integer in the range of a kind."""
    limits = np.iinfo(DTYPES[kind])
    return min(max(int(x), int(limits.min)), int(limits.max))


def wrapped(x, kind):
    """An integer modulo the kind's range."""
    bits = DTYPES[kind].itemsize * 8
    x &= (1 << bits) - 1
    return x - (1 << bits) if kind[0] == "s" and x >> (bits - 1) else x
