"""What Hydra's own launchers write for each job, in the same files: its configuration, Hydra's, and the overrides.

As YAML a configuration takes 20 ms, most of it for what is the same in all jobs of a family. So that is rendered once, as texts
with gaps, and each job fills these with the values that it was composed with.
"""

import json
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from omegaconf import DictConfig, OmegaConf

from mtbench.launch.families import TASK, Composed, Family

OUTPUT_DIR = "hydra.runtime.output_dir"


@dataclass(frozen=True)
class Gap:
    """Where the value of a key goes."""

    key: str


Text = Sequence[str | Gap]


class HydraFiles:
    """Writes the files of jobs, each into `subfolder` of the folder of its record."""

    def __init__(self, subfolder: str) -> None:
        self.subfolder = subfolder
        self._texts: dict[int, Mapping[str, Text]] = {}  # by the identity of a family, which its jobs keep alive

    def write(self, job: Composed, folder: Path) -> None:
        """Raises OSError."""
        place = folder / self.subfolder
        place.mkdir(parents=True, exist_ok=True)
        values = {**job.values, OUTPUT_DIR: str(folder.absolute())}
        overrides = "".join(f"- {_value(override)}\n" for override in values[TASK])
        for name, text in self._texts_of(job.family).items():
            _write(place / f"{name}.yaml", _filled(text, values))
        _write(place / "overrides.yaml", overrides or "[]\n")

    def _texts_of(self, family: Family) -> Mapping[str, Text]:
        if id(family) not in self._texts:
            names = [str(name) for name in family.config if name != "hydra"]
            self._texts[id(family)] = {
                "config": [part for name in names for part in _parts(family, family.config, name, "", "")],
                "hydra": list(_parts(family, family.config, "hydra", "", "")),
            }
        return self._texts[id(family)]


def _parts(family: Family, parent: DictConfig, name: str, branch: str, indent: str) -> Iterator[str | Gap]:
    """`name: value` as YAML."""
    path = f"{branch}{name}"
    node = parent._get_node(name)
    if path in family.varying:
        yield f"{indent}{name}: "
        yield Gap(path)
        yield "\n"
    elif isinstance(node, DictConfig) and any(key.startswith(f"{path}.") for key in family.varying):
        yield f"{indent}{name}:\n"
        for key in node:
            yield from _parts(family, node, str(key), f"{path}.", f"{indent}  ")
    else:
        yield textwrap.indent(OmegaConf.to_yaml(OmegaConf.masked_copy(parent, [name])), indent)


def _filled(text: Text, values: Mapping[str, Any]) -> str:
    return "".join(_value(values[part.key]) if isinstance(part, Gap) else part for part in text)


def _write(file: Path, text: str) -> None:
    if file.exists() and not file.is_file():  # writing into a FIFO would wait for ever
        file.unlink()
    file.write_text(text, encoding="utf-8")


def _value(value: Any) -> str:
    """A value as YAML in one line, of which JSON is a part but for the way it writes floats."""
    return yaml.safe_dump(value).splitlines()[0] if isinstance(value, float) else json.dumps(value, ensure_ascii=False)
