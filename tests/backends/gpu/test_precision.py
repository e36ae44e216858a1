"""Strict float32 and TF32 are told apart by the numbers that the tests' device gives: it rounds where a card would."""

import json

import pytest

LIMIT, TF32_LIMIT = 1e-6, 2e-3
BY_VECTOR = "product, matrix by vector"


@pytest.fixture(scope="module", params=["cuda", "cuda-tf32"])
def errors(request, cuda_process):
    found = json.loads(cuda_process("tests.backends.gpu.precision_program", FASTVAE_PROFILE=request.param))
    return request.param, found


def test_convolutions_and_products_of_matrices(errors):
    profile, found = errors
    least, most = (0, LIMIT) if profile == "cuda" else (1e-4, TF32_LIMIT)
    assert len(found) == 8
    assert all(least < error < most for name, error in found.items() if name != BY_VECTOR), found


def test_vectors_are_strict_under_both(errors):
    assert errors[1][BY_VECTOR] < LIMIT
