"""`torch_decoder.py` is a program of an environment of its own, which has PyTorch."""

collect_ignore = ["torch_decoder.py"]
