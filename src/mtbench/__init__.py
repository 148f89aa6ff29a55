"""mtbench: measures transformer operators in PyTorch, MLX and other frameworks, fairly and with a stated uncertainty."""

__version__ = "0.1.0"
