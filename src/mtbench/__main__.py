"""`python -m mtbench`: a known word goes to launch/commands.py, everything else to the Hydra application."""

import sys
from pathlib import Path

from mtbench import interrupts
from mtbench.launch import streams

COMMANDS = (
    "which", "list", "report", "compare", "merge", "resume", "status", "doctor", "selftest", "import", "export", "share",
    "site",
)  # fmt: skip


def main() -> None:
    streams.install()
    interrupts.install()
    try:
        _run(sys.argv[1:])
    except KeyboardInterrupt:
        print("mtbench: interrupted", file=sys.stderr)
        code = interrupts.exit_code() or 130
    except SystemExit:
        if (interrupted := interrupts.exit_code()) is None:
            raise
        code = interrupted  # whatever a library or a command made of it
    except Exception:
        if (interrupted := interrupts.exit_code()) is None:
            raise
        print("mtbench: interrupted", file=sys.stderr)
        code = interrupted
    else:
        return
    finally:
        interrupts.done()
    sys.exit(code)


def _run(arguments: list[str]) -> None:
    try:
        Path.cwd()
    except OSError:
        print("mtbench: the folder in which this was started is gone; change into another one.", file=sys.stderr)
        sys.exit(2)
    if arguments and arguments[0] in COMMANDS:
        from mtbench.launch.commands import app

        app(arguments)
        return
    from difflib import get_close_matches

    if arguments and (near := get_close_matches(arguments[0], COMMANDS, n=1, cutoff=0.7)):
        print(f"mtbench: No command '{arguments[0]}'. Did you mean '{near[0]}'?", file=sys.stderr)
        sys.exit(2)
    from mtbench.launch.app import main as run

    run(arguments)


if __name__ == "__main__":
    main()
