import numpy as np
import pytest

from fastvae.datasets.rows import Rows
from fastvae.errors import DataError
from fastvae.likelihoods import Bernoulli, Likelihood
from fastvae.models.images import as_model_takes, in_chunks, to_train_on

BYTES = np.arange(24, dtype="uint8").reshape(2, 1, 3, 4) * 10
SHAPE = (1, 3, 4)


class Picky(Likelihood):
    def check(self, images, owner):
        raise DataError(f"{owner}: not for {images.dtype}")


def test_bytes_stay_only_to_train_on(tmp_path):
    np.save(tmp_path / "bytes.npy", BYTES)
    for data in (BYTES, np.load(tmp_path / "bytes.npy", mmap_mode="r")):
        kept, floats = (to_train_on(data, SHAPE, Bernoulli(), "fit", keep_bytes) for keep_bytes in (True, False))
        assert isinstance(kept, Rows) == isinstance(floats, Rows) == (data is not BYTES)
        assert np.asarray(kept).dtype == "uint8" and np.array_equal(np.asarray(kept), BYTES)
        np.testing.assert_allclose(np.asarray(floats), BYTES / 255, rtol=1e-6)
    assert as_model_takes(BYTES, SHAPE, "judge").dtype == np.float32


def test_another_shape_and_what_the_likelihood_refuses(tmp_path):
    np.save(tmp_path / "bytes.npy", BYTES)
    on_disk = np.load(tmp_path / "bytes.npy", mmap_mode="r")
    for data in (BYTES, on_disk):
        with pytest.raises(
            DataError, match=r"^fit.*: found images of uint8 \(2, 1, 3, 4\), the model takes \(N, 1, 4, 4"
        ):
            to_train_on(data, (1, 4, 4), Bernoulli(), "fit")
        with pytest.raises(DataError, match="not for uint8"):
            np.asarray(to_train_on(data, SHAPE, Picky(), "fit"))


def test_chunks_are_put_together_in_order(monkeypatch):
    monkeypatch.setattr("fastvae.models.images.CHUNK", 4)
    calls = []
    doubled = in_chunks(lambda values: calls.append(len(values)) or 2 * values, np.arange(11))
    assert calls == [4, 4, 3] and np.array_equal(doubled, 2 * np.arange(11))
