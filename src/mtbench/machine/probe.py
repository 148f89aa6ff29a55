"""Tries one framework on one device, in a process of its own: `python -m mtbench.machine.probe torch gpu`.

Frameworks are heavy and may be broken; whoever asks must neither load them nor fall with them. The answer is the last
line of the output, so that what a library prints first does no harm.
"""

import json
import sys
from dataclasses import asdict

from mtbench.errors import Unsupported
from mtbench.frameworks.base import Framework, Settings
from mtbench.registry import load

DTYPES = ("float32", "float16", "bfloat16")


def main(framework: str, device: str, file: str | None = None) -> None:
    try:
        built: Framework = load("framework", framework, file)(Settings(device))
        answer = {"description": asdict(built.describe()), "dtypes": [name for name in DTYPES if _has(built, name)]}
    except Unsupported as reason:
        answer = {"unsupported": str(reason)}
    sys.stdout.write("\n" + json.dumps(answer) + "\n")


def _has(framework: Framework, dtype: str) -> bool:
    try:
        framework.check_dtype(dtype)
    except Unsupported:
        return False
    return True


if __name__ == "__main__":
    main(*sys.argv[1:])
