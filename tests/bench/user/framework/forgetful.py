"""MLX by someone who forgot to wait: nothing is evaluated before somebody looks at the values."""

from mtbench.frameworks import mlx
from mtbench.frameworks.base import Settings


class Forgetful(mlx.Mlx):
    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self.wait = self.submit = lambda out: None
