"""The Ops of the CPU, float32, one concept a file; `fastvae.backends.cpu.register` imports every file here.

Activations of convolutions are (N, H, W, C), contiguous or not.
"""
