"""Families of distributions, one file each, for likelihoods and posteriors alike.

==============================  ====================================================================================
`likelihood`                    what every likelihood of images is: `Likelihood`
`posterior`                     what every posterior of latents is: `Posterior`, and the `Distribution` it stands for
`levels`                        what the likelihoods of 8-bit pixels share
`normal`                        independent Normals: the likelihood ``normal``, the posterior ``mean-field``
`full_covariance_normal`        a Normal with a full covariance: the posterior ``full-covariance``
`bernoulli`                     the likelihood ``bernoulli``
`categorical`                   the likelihood ``categorical``
`discretized_logistic`          the likelihood ``discretized-logistic``
==============================  ====================================================================================

`fastvae.likelihoods` and `fastvae.posteriors` are the public names of all these. A family is added as a file here and a
line there.
"""
