"""Usage errors that only composing shows: one line from what Hydra, OmegaConf or a user's own file raised."""

import traceback
from collections.abc import Iterator, Sequence
from pathlib import Path

import yaml
from hydra.errors import HydraException, MissingConfigException
from omegaconf.errors import MissingMandatoryValue, OmegaConfBaseException

from mtbench.errors import ConfigError, unknown

PACKAGE = Path(__file__).resolve().parents[1]


def explain(error: BaseException) -> str | None:
    """One line for a usage error; None if the error is a defect of mtbench, which should be shown in full."""
    causes = list(_causes(error))
    for cause in causes:
        if isinstance(cause, ConfigError):
            return str(cause)
    if isinstance(error, MissingConfigException):
        return _missing(error)
    broken = next((cause for cause in causes if isinstance(cause, yaml.MarkedYAMLError)), None)
    if broken is not None and broken.problem_mark is not None:
        return f"{broken.problem_mark.name}, line {broken.problem_mark.line + 1}, is not valid YAML: {broken.problem}."
    unread = next((cause for cause in causes if isinstance(cause, yaml.YAMLError | UnicodeDecodeError)), None)
    if unread is not None:
        file = getattr(unread, "name", None) or "A YAML file"
        return f"{file} cannot be read: {str(unread).splitlines()[0]}."
    unset = next((cause for cause in causes if isinstance(cause, MissingMandatoryValue)), None)
    if unset is not None:
        return f"{unset.full_key or unset.key} is not set; the chosen YAML must set it, such as name: softmax."
    root = causes[-1]
    if isinstance(root, SyntaxError) and root.filename:
        return f"{root.filename}, line {root.lineno}: {root.msg}."
    frame = _last_frame(root)
    if frame is None:
        return _first_line(causes)
    if Path(frame.filename).is_relative_to(PACKAGE):
        return None
    places = Path(frame.filename).parts
    if any(part in ("site-packages", "lib") for part in places):
        composing = isinstance(error, HydraException | OmegaConfBaseException)
        # Of a defaults list that cannot be, Hydra raises a plain ValueError.
        return _first_line(causes) if composing or {"hydra", "omegaconf"} & set(places) else None
    return f"{frame.filename}, line {frame.lineno}: {type(root).__name__}: {root}"


def _last_frame(error: BaseException) -> traceback.FrameSummary | None:
    """The last frame of a traceback: where the error was raised."""
    frames = traceback.extract_tb(error.__traceback__)
    return frames[-1] if frames else None


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _missing(error: MissingConfigException) -> str:
    group, _, name = (error.missing_cfg_file or "").rpartition("/")
    if not group or error.options is None:
        return str(error).splitlines()[0]
    return unknown(group, name, error.options)


def _first_line(causes: Sequence[BaseException]) -> str:
    """One line from an error of Hydra's, which says where, and its cause, which says what."""
    lines = dict.fromkeys(str(cause).strip().splitlines()[0] for cause in causes if str(cause).strip())
    return ": ".join(line.rstrip(".:") for line in lines) + "."
