"""Runnable examples, each a script of its own: `python -m fastvae.examples.blog_vae`."""
