"""Published names of language models, and our presets in `conf/model/` that they mean."""

import re
from collections.abc import Iterator
from functools import cache
from typing import Any

from mtbench import paths
from mtbench.plain import to_json

OTHER_MODELS = re.compile(r"embed|rerank|vision|(?<![a-z])vl(?![a-z])", re.IGNORECASE)
"""Words that show that a name is of another architecture, although it begins like a preset's."""


def language_model(*names: str, phase: str) -> tuple[str, dict[str, Any]]:
    """The model and parameters of `causal_lm` for a model that has one of these names: those of a preset where one is meant,
    so that a figure stands beside ours, else the first name."""
    for name in names:
        for preset, pattern, config in _presets():
            if pattern.search(name) and not OTHER_MODELS.search(name):
                return preset, _usual() | {"config": config, "phase": phase}
    return names[0], {"phase": phase}


@cache
def _usual() -> dict[str, Any]:
    """The parameters of `causal_lm` as a plan has them, where a command says nothing of them."""
    import yaml

    found = yaml.safe_load((paths.conf() / "operator" / "causal_lm.yaml").read_text(encoding="utf-8"))
    params: dict[str, Any] = found["params"]
    return params


@cache
def _presets() -> tuple[tuple[str, re.Pattern[str], str], ...]:
    return tuple(_read())


def _read() -> Iterator[tuple[str, re.Pattern[str], str]]:
    import yaml

    for file in sorted((paths.conf() / "model").glob("*.yaml")):
        preset = yaml.safe_load(file.read_text(encoding="utf-8"))
        if preset.get("source"):
            published = re.sub(r".*huggingface\.co/[^/]+/([^/]+).*", r"\1", preset["source"])
            yield preset["name"], _pattern(published), to_json(preset["config"])


def _pattern(published: str) -> re.Pattern[str]:
    """Finds `Qwen3-0.6B` as it is written elsewhere: `qwen3 0.6B`, `qwen-3-0.6b-it`, `qwen3:0.6b`."""
    name = re.sub(r"-(it|pt|Instruct|Base)$", "", published)
    pattern = re.escape(name).replace(r"\-", "[-_ :]")
    pattern = re.sub(r"(?<=[A-Za-z])(?:\[-_ :\])?(?=\d)", "[-_ ]?", pattern)
    return re.compile(rf"(?<![a-z0-9.]){pattern}(?![a-z0-9])", re.IGNORECASE)
