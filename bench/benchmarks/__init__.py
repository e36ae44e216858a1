"""What asv measures; `bench/asv.conf.json` says under which profiles.

    steps           a training step of the seed models and of 64x64x3 images, against stock PyMC3
    objectives      IWAE's step against the ELBO's
    pipelines       minibatches against pm.Minibatch
    start_up        from the start of a process to its first step, cold and warm
    step_counts     what a step consists of
    dry_run         what the GPU step asks of a device

Under `opencl` the models have a toy size; under the other profiles their own.

Each class measures once, in `setup_cache`, and its `track_...` methods hand out the figures. asv takes smaller as
better: iterations a second are there to be looked at. fastvae is the installed one, of the commit that asv is at, and
everything else of bench/ is of this working tree.
"""
