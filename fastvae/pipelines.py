"""Pipelines: what stands behind a minibatch variable, `variable.tag.pipeline`, as the training loop sees it.

The loop calls `advance()` before every step, keeps `state()` in a checkpoint and continues from it by `restore`. All that
a resident pipeline needs lives in shared variables which the step itself updates, so its state here is empty.

Examples
--------
>>> import numpy as np, fastvae
>>> x = fastvae.Minibatch(np.arange(10.0), batch_size=3)
>>> x.tag.pipeline.restorable, x.tag.pipeline.state()
(True, {})
"""


class Resident:
    """A pipeline whose data are held in device memory and whose rows the step itself gathers.

    Attributes
    ----------
    restorable : bool
        Whether `restore` can continue in a new process (not if the data come from a one-shot iterator).
    batches_per_epoch : int or None
        Steps in which every row is seen once; None if rows are drawn with replacement.
    """

    restorable = True

    def __init__(self, batches_per_epoch=None):
        self.batches_per_epoch = batches_per_epoch

    def advance(self):
        """Put the next minibatch in place: called before every step."""

    def state(self):
        """Where the last step that ran left off, a dict of JSON-able values and numpy arrays."""
        return {}

    def restore(self, state):
        """Continue behind the step after which `state` was taken."""

    def close(self):
        """End threads and close files."""
