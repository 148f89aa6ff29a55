"""A user's own weights: a folder as transformers saves it, one that mlx-lm quantised, or a GGUF file."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mtbench import plain
from mtbench.errors import ConfigError, Unsupported
from mtbench.language_models import gguf
from mtbench.language_models.checkpoint import Checkpoint
from mtbench.language_models.config import LanguageModel, parse

READERS = {
    "mlx": "mlx-lm's own quantised weights, which framework=mlx reads",
    "gguf": "GGUF, which framework=llama_cpp reads",
}
"""Kinds of weights that only one library reads."""


@dataclass(frozen=True)
class Given:
    """Where the weights are, their kind (folder, mlx or gguf), and the bytes of one weight of a matrix, if these do not follow
    from the cell's dtype."""

    path: Path
    kind: str
    model: LanguageModel
    matrix_bytes: float | None = None

    def stored(self) -> Any:
        """The tensors. Those of a GGUF file are dequantised; those that mlx-lm quantised are read as they are stored."""
        return gguf.read(self.path, self.model) if self.kind == "gguf" else Checkpoint(self.path)

    def check(self, library: str) -> None:
        """Raises Unsupported where a library does not read them."""
        if self.kind not in ("folder", {"llama_cpp": "gguf"}.get(library, library)):
            raise Unsupported(f"operator.params.checkpoint holds {READERS[self.kind]}.")


def config_text(given: str) -> str:
    """A config.json's text, from that text, the file's name or its folder's. Raises ConfigError where there is none."""
    if given.lstrip().startswith("{"):
        return given
    file = Path(given).expanduser()
    file = file / "config.json" if file.is_dir() else file
    try:
        return plain.to_json(json.loads(file.read_text()))
    except OSError:
        raise ConfigError(f"operator.params.config={given}: there is no such file.") from None
    except ValueError:
        raise ConfigError(
            f"operator.params.config={given} is not the config.json of a model: it is not JSON."
        ) from None


def given(path: str) -> Given:
    """The weights at a path. Raises ConfigError where there are none of a known kind and model."""
    here = Path(path).expanduser()
    if here.suffix == ".gguf":
        if not here.is_file():
            raise ConfigError(f"operator.params.checkpoint={path}: there is no such file.")
        return Given(here, "gguf", *gguf.model_of(here))
    published = here / "config.json"
    if not published.is_file():
        raise ConfigError(f"operator.params.checkpoint={path}: there is no config.json in it.")
    text = published.read_text()
    model, packed = parse(text), json.loads(text).get("quantization")
    if packed is None:
        return Given(here, "folder", model)
    if packed.get("mode", "affine") != "affine":
        raise ConfigError(
            f"operator.params.checkpoint={path} is quantised in mode {packed['mode']}; only mode affine has a reference."
        )
    return Given(here, "mlx", model, (packed["bits"] + 32 / packed["group_size"]) / 8)  # a scale and an offset a group
