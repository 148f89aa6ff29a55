"""Moves a finished report to its folder. Writes whole files only; never replaces or removes a user's files."""

import json
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from mtbench import paths
from mtbench.errors import ConfigError

MANIFEST = ".mtbench-report.json"
"""Lists the files of a report in its folder, so that the next one knows which are its own to replace."""


@contextmanager
def published(out: Path) -> Iterator[Path]:
    """Gives an empty folder to build in; on leaving, its files replace those of an earlier report in `out`.

    It stands in `out`, which may be a file system of its own, or beside it where that is not there yet, so that moving is
    renaming. Files in `out` that no report wrote are left alone; where one is in the way, ConfigError is raised and nothing
    has changed. An error while building changes nothing either.
    """
    with ExitStack() as stack:
        try:
            if out.exists() and not out.is_dir():
                raise ConfigError(f"{out} is a file; --out needs a folder.")
            target = out.resolve()
            building = stack.enter_context(paths.building(target / "report" if target.is_dir() else target))
        except (OSError, RuntimeError) as error:  # of a loop of links, Python up to 3.12 makes a RuntimeError
            why = error.strerror if isinstance(error, OSError) else "its links lead in a circle"
            raise ConfigError(f"{out} cannot be made ({why}); give another --out.") from error
        yield building
        try:
            _move(building, target, out)
        except OSError as error:
            raise ConfigError(f"{out} cannot be written ({error.strerror}); give another --out.") from error


def _move(building: Path, target: Path, named: Path) -> None:
    new = [path.relative_to(building).as_posix() for path in sorted(building.rglob("*")) if path.is_file()]
    old = _listed(target)
    in_the_way = {parent.as_posix() for name in new for parent in Path(name).parents if (target / parent).is_file()}
    foreign = [name for name in new if name not in old and (target / name).exists()] + sorted(in_the_way)
    if foreign:
        raise ConfigError(f"{named / foreign[0]} was not written by mtbench and is not replaced; give another --out.")
    target.mkdir(exist_ok=True)
    # Listed before they are moved: whatever stops this, the next report knows every file as its own.
    _list(target, sorted({*old, *new}))
    for name in sorted(new, key=lambda name: name == "index.html"):  # the index last, once all it links to is there
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        os.replace(building / name, target / name)
    for name in set(old) - set(new):
        (target / name).unlink(missing_ok=True)
        _remove_empty((target / name).parent, target)
    _list(target, new)


def _remove_empty(folder: Path, root: Path) -> None:
    """Removes a folder that holds nothing any more, and those above it below `root`."""
    while folder != root and (not folder.exists() or not any(folder.iterdir())):
        if folder.exists():
            folder.rmdir()
        folder = folder.parent


def _listed(target: Path) -> list[str]:
    try:
        names = json.loads((target / MANIFEST).read_text())
    except (OSError, ValueError):
        return []
    if not isinstance(names, list):
        return []
    return [str(name) for name in names if (target / str(name)).resolve().is_relative_to(target)]


def _list(target: Path, names: list[str]) -> None:
    paths.write_atomically(target / MANIFEST, json.dumps(names, indent=0))
