"""Time fastvae's step against stock PyMC3's, in turn, in live processes.

    python bench/measure.py conv --batch-size 64 --threads 2 --blocks 6

Both train one model from the same weights on the same images. Blocks of some seconds alternate A B B A; the medians of
both and the median ratio of neighbouring blocks are printed, with the machine's load before it began, and the last loss
of both as a check that they learn alike (`tests/test_elbo.py` holds losses and gradients to each other).
"""
import argparse
import datetime
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).parent
ROOT = HERE.parent


class Worker:
    """A live process that takes steps on request."""

    def __init__(self, script, arguments, environ):
        self.process = subprocess.Popen(
            [sys.executable, "-W", "ignore", str(HERE / script), *map(str, arguments)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env={**os.environ, **environ},
        )
        self.loss = self._answer()[1]

    def run(self, seconds):
        """Milliseconds a step over about `seconds`."""
        self.process.stdin.write(f"{seconds}\n")
        self.process.stdin.flush()
        steps, elapsed, self.loss = map(float, self._answer())
        return 1000 * elapsed / steps

    def _answer(self):
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit(f"{self.process.args[3]} ended with status {self.process.wait()}")
        return line.split()


def problem(kind, path):
    """Write images and the initial weights that both programs start from; return the BLAS flags for stock."""
    code = (
        "import fastvae, numpy as np, sys, theano\n"
        f"vae = dict(conv=fastvae.ConvVAE, mlp=fastvae.MLPVAE)[{kind!r}](seed=1)\n"
        "weights = {f'weight{i}': p.get_value() for i, p in enumerate(vae.get_params())}\n"
        f"np.savez({str(path)!r}, images=fastvae.datasets.load('fashion-mnist-sample'), **weights)\n"
        "print(theano.config.blas.ldflags)"
    )
    environ = {**os.environ, "PYTHONPATH": str(ROOT), "FASTVAE_PROFILE": "cpu-blas"}
    done = subprocess.run([sys.executable, "-c", code], env=environ, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", choices=("conv", "mlp"))
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--threads", type=int, default=2, help="of fastvae; stock takes the better of 1 and these")
    parser.add_argument("--blocks", type=int, default=6, help="pairs of blocks")
    parser.add_argument("--seconds", type=float, default=3.0, help="length of a block")
    args = parser.parse_args(argv)
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder, "problem.npz")
        flags = f"floatX=float32,blas.ldflags={problem(args.model, path)}"
        arguments = (args.model, args.batch_size, path)
        environ = {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": str(args.threads)}
        ours = Worker("fastvae_worker.py", arguments, environ)
        stocks = {}
        for n in sorted({1, args.threads}):
            environ = {"THEANO_FLAGS": flags, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": str(n)}
            stocks[n] = Worker("stock.py", arguments, environ)
        times = {n: [] for n in (0, *stocks)}
        ratios = []
        for i in range(args.blocks):
            order = [(0, ours), *stocks.items()]
            block = {n: worker.run(args.seconds) for n, worker in (order if i % 2 else order[::-1])}
            for n, value in block.items():
                times[n].append(value)
            ratios.append(min(block[n] for n in stocks) / block[0])
        print(f"{args.model}, batch {args.batch_size}, {datetime.date.today()}, load before {load:.2f}")
        rows = [(f"fastvae, {args.threads} threads", 0, ours)]
        rows += [(f"stock, {n} threads", n, worker) for n, worker in stocks.items()]
        for name, n, worker in rows:
            print(f"{name}: {statistics.median(times[n]):.2f} ms a step, last loss {worker.loss:.0f}")
        print(f"stock / fastvae: median {statistics.median(ratios):.2f}, from {min(ratios):.2f} to {max(ratios):.2f}")


if __name__ == "__main__":
    main()
