"""The Ops of the GPU, float32, one concept a file; `fastvae.backends.gpu.register` imports every file here."""
