"""A real Jupyter kernel: the progress line, an interrupt, and what it shows of models, fits and pictures."""

import importlib.util
import sys
import time

import pytest

from tests.conftest import environment, required_device

TRAIN = """
import fastvae, numpy as np
vae = fastvae.MLPVAE(image_shape=(1, 4, 4), hidden=8, seed=0)
approx = vae.fit(np.zeros((20, 1, 4, 4), "float32"), n=10**9, batch_size=5, seed=1)
"""


class Kernel:
    """What a cell wrote, and what it showed."""

    def __init__(self, client, manager):
        self.client, self.manager = client, manager

    def run(self, code, interrupt_at=None, limit=120):
        """Execute a cell, and interrupt the kernel as the stop button does once a text was written."""
        self.client.execute(code)
        written, shown, status = "", {}, None
        end = time.monotonic() + limit
        while time.monotonic() < end:
            message = self.client.get_iopub_msg(timeout=limit)
            kind, content = message["msg_type"], message["content"]
            if kind == "stream":
                written += content["text"]
            elif kind in ("execute_result", "display_data"):
                shown.update(content["data"])
            elif kind == "error":
                status = content["ename"]
            elif kind == "status" and content["execution_state"] == "idle":
                return written, shown, status
            if interrupt_at is not None and interrupt_at in written:
                self.manager.interrupt_kernel()
                interrupt_at = None
        raise AssertionError(f"the cell went on after {limit} s: {written[-2000:]}")


@pytest.fixture(scope="module")
def kernel():
    missing = [name for name in ("ipykernel", "jupyter_client") if importlib.util.find_spec(name) is None]
    required_device([f"{name} is not installed; pip install 'fastvae[test]'" for name in missing])
    import jupyter_client

    manager = jupyter_client.KernelManager()
    manager.kernel_spec.argv[0] = sys.executable
    manager.start_kernel(env=environment())
    client = manager.client()
    client.start_channels()
    client.wait_for_ready(timeout=60)
    yield Kernel(client, manager)
    client.stop_channels()
    manager.shutdown_kernel(now=True)


@pytest.fixture(scope="module")
def interrupted(kernel):
    return kernel.run(TRAIN, interrupt_at="ELBO/image")


def test_progress_is_one_line_that_is_rewritten(interrupted):
    written, _, _ = interrupted
    states = [state for state in written.split("\r") if "it/s" in state and "ELBO/image" in state]
    assert len(states) >= 1 and "/1000000000 [" in states[-1] and "\n" not in states[0].strip()


def test_the_stop_button_ends_the_fit_and_keeps_what_it_learned(interrupted, kernel):
    assert interrupted[2] is None  # no KeyboardInterrupt: the cell ends as if it had come to its end
    _, shown, status = kernel.run("approx.ended_by, len(approx.hist) > 0, bool(np.isfinite(approx.hist).all())")
    assert (shown["text/plain"], status) == ("('SIGINT', True, True)", None)


def test_models_fits_and_pictures_are_shown(interrupted, kernel):
    assert "encoder.dense1" in kernel.run("vae")[1]["text/html"]
    shown = kernel.run("approx")[1]["text/html"]
    assert "of the encoder" in shown and "decoder.dense2" in shown
    picture = kernel.run("fastvae.plots.loss_curve(approx.hist[:1000], 5)")[1]["image/png"]
    assert len(picture) > 1000
