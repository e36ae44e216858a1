"""Loss and gradients of a VAE by stock PyMC3 and Theano: the oracle of `tests/elbo/test_elbo.py`.

    python -m tests.stock_objective PROBLEM.npz ANSWER.npz

Of several draws of noise, (samples, batch, latents), it answers for each: the loss of more samples is their average.

Run in a process that never imports fastvae. The network is stock's of `bench/stock.py`, with
`tt.switch(x > 0, x, 0)` as ReLU.
"""

import sys

import numpy as np

from bench.stock import compile_sooner, objective, repair_stack


def main(problem_path, answer_path):
    repair_stack()
    compile_sooner()
    import theano
    import theano.tensor as tt

    problem = np.load(problem_path)
    images, noise, kind = problem["images"], problem["noise"], str(problem["kind"])
    weights = [theano.shared(problem[f"weight{i}"]) for i in range(int(problem["n_weights"]))]
    zeros = []

    def relu(x):
        zeros.append(tt.eq(x, 0).mean())
        return tt.switch(x > 0, x, 0)

    inference, xs = objective(
        kind, weights, images, noise.shape[2], int(problem["total_size"]), relu, maps=tuple(problem["maps"])
    )
    (local,) = [group for group in inference.approx.groups if group.local]
    draw = theano.shared(noise[:1])
    replacements = {xs: theano.shared(images), local.symbolic_initial: draw}
    with theano.configparser.change_flags(compute_test_value="off"):
        loss = inference.objective(None, more_obj_params=weights, more_replacements=replacements)
        function = theano.function([], [loss, *tt.grad(loss, weights)])
        share = theano.function([], zeros[0], givens={xs: images})()
    results = []
    for s in range(len(noise)):
        draw.set_value(noise[s : s + 1])
        results.append(function())
    assert "fastvae" not in sys.modules
    losses, *gradients = (np.stack(values) for values in zip(*results))
    np.savez(answer_path, zeros=share, loss=losses, **{f"grad{i}": g for i, g in enumerate(gradients)})


if __name__ == "__main__":
    main(*sys.argv[1:])
