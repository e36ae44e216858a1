"""fastvae on a seed model: the other worker of bench/measure.py."""
import pathlib
import sys

import fastvae  # isort: skip  (before theano)
import numpy as np
import pymc3 as pm
import theano

sys.path.insert(0, str(pathlib.Path(__file__).parent))
from stock import serve  # noqa: E402

from fastvae import elbo  # noqa: E402
from fastvae.profiles import active  # noqa: E402


def main(kind, batch_size, problem):
    problem = np.load(problem)
    images = problem["images"]
    vae = {"conv": fastvae.ConvVAE, "mlp": fastvae.MLPVAE}[kind](seed=0)
    for i, param in enumerate(vae.get_params()):
        param.set_value(problem[f"weight{i}"])
    model, local_rv, xs = elbo.vae_model(vae, int(batch_size), len(images))
    loss, updates = elbo.step_updates(
        pm.ADVI(model=model, local_rv=local_rv).objective,
        obj_optimizer=fastvae.adam(learning_rate=1e-4),
        more_obj_params=vae.get_params(),
        more_replacements={xs: fastvae.Minibatch(images, int(batch_size))},
    )
    step = theano.function([], loss, updates=updates)
    ops = [type(node.op).__module__ for node in step.maker.fgraph.toposort()]
    assert ("fastvae.backends.onednn.ops" in ops) is (active().backend == "onednn")
    serve(step)


if __name__ == "__main__":
    main(*sys.argv[1:])
