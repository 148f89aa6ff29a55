"""What Hydra's own launchers write for each job, in the same files: its configuration, Hydra's, and the overrides.

As YAML a configuration takes 20 ms, most of it for what is the same in all jobs of a family, which is kept as text.
"""

import json
import textwrap
from pathlib import Path
from typing import Any

import yaml
from omegaconf import DictConfig, ListConfig, OmegaConf

from mtbench.launch.families import Family


def write(family: Family, folder: Path, subfolder: str) -> None:
    """Writes the files of the family's current job into a folder below that of its record. Raises OSError."""
    config = family.config
    place = folder / subfolder
    place.mkdir(parents=True, exist_ok=True)
    sections = {str(name): _text(family, config, str(name), "") for name in config}
    hydra = sections.pop("hydra")
    overrides = "".join(f"- {_value(override)}\n" for override in config.hydra.overrides.task)
    texts = {"config": "".join(sections.values()), "hydra": hydra, "overrides": overrides or "[]\n"}
    for name, text in texts.items():
        file = place / f"{name}.yaml"
        if file.exists() and not file.is_file():  # writing into a FIFO would wait for ever
            file.unlink()
        file.write_text(text, encoding="utf-8")


def _text(family: Family, parent: DictConfig, name: str, branch: str) -> str:
    """`name: value` as YAML."""
    path = f"{branch}{name}"
    if path in family.texts:
        return family.texts[path]
    node = parent._get_node(name)
    if path in family.varying:
        return f"{name}: {_value(_raw(node))}\n"
    inside = any(key.startswith(f"{path}.") for key in family.varying)
    if inside and isinstance(node, DictConfig):
        below = "".join(_text(family, node, str(key), f"{path}.") for key in node)
        return f"{name}:\n{textwrap.indent(below, '  ')}"
    text = family.texts[path] = OmegaConf.to_yaml(OmegaConf.masked_copy(parent, [name]))
    return text


def _raw(node: Any) -> Any:
    """A node's value as it was given, interpolations and all."""
    if isinstance(node, DictConfig | ListConfig):
        return OmegaConf.to_container(node, resolve=False, enum_to_str=True)
    return node._value()


def _value(value: Any) -> str:
    """A value as YAML in one line, of which JSON is a part but for the way it writes floats."""
    return yaml.safe_dump(value).splitlines()[0] if isinstance(value, float) else json.dumps(value, ensure_ascii=False)
