"""Run stock PyMC3's step of the seed model on the dry-run device, and provoke each counter once; JSON on the output."""
import json

import fastvae  # isort: skip
import numpy as np
import pymc3 as pm
import theano
import theano.tensor as tt

from fastvae.examples.blog_vae import BlogVAE
from tests import dry_run

BATCH = 4  # the counts do not depend on sizes


def step():
    """Stock's step function: one draw, Adam, minibatches of `pm.Minibatch`."""
    images = np.random.default_rng(0).random((20, 1, 28, 28)).astype("float32")
    vae = BlogVAE(filters=3, hidden=5)
    xs = tt.tensor4("xs")
    xs.tag.test_value = images[:BATCH]
    with pm.Model():
        zs = pm.Normal("zs", mu=0, sigma=1, shape=(BATCH, 2), dtype="float32", total_size=len(images))
        x_mean = vae.decode(zs)
        pm.Normal("xs_", mu=x_mean, sigma=0.1, observed=xs, total_size=len(images))
        mean, rho = vae.encode(xs)
        return pm.ADVI(local_rv={zs: dict(mu=mean, rho=rho)}).objective.step_function(
            obj_optimizer=pm.adam(learning_rate=1e-4),
            more_obj_params=list(fastvae.collect_params([mean, rho, x_mean])),
            more_replacements={xs: pm.Minibatch(images, BATCH)},
            score=True,
        )


def counted(action, warm=3):
    """What one call counts, once earlier ones have allocated and compiled."""
    for _ in range(warm):
        action()
    dry_run.reset()
    action()
    return dry_run.counts()


def main():
    import pygpu
    from theano.gpuarray.type import get_context

    context = get_context(None)
    array = pygpu.zeros((1 << 20,), dtype="float32", context=context)
    host = np.empty(array.shape, "float32")
    # Larger than libgpuarray's cache can hold of freed memory: it was never allocated before.
    kept = []
    report = {
        "to_device": counted(lambda: array.write(host)),
        "to_host": counted(lambda: array.read(host)),
        "synchronisation": counted(array.sync),
        "allocation": counted(lambda: kept.append(pygpu.empty((1 << 22,), dtype="float32", context=context))),
    }
    function = step()
    report.update(step=counted(function), nodes=len(function.maker.fgraph.apply_nodes), device=theano.config.device)
    print(json.dumps(report))


if __name__ == "__main__":
    main()
