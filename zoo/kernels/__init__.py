"""C++ kernels, compiled on first use, and the PyTorch modules that call them."""
