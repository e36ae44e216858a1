"""Families of distributions, one file each, for likelihoods and posteriors alike.

`likelihood`, `posterior` and `levels` are what all likelihoods, all posteriors and the likelihoods of 8-bit pixels
share. Every other file is a family: its density, draws, mean, closed forms, and what a network's output means in it.

`fastvae.likelihoods` and `fastvae.posteriors` are their public names and list them. A family is added as a file here
and a line there.
"""
