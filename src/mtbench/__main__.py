"""`mtbench`, or `python -m mtbench`: a known word goes to launch/commands.py, everything else to the Hydra application."""

import sys
from pathlib import Path

from mtbench import interrupts
from mtbench.launch import streams
from mtbench.launch.refusing import refuse

COMMANDS = (
    "which", "list", "report", "compare", "merge", "resume", "status", "doctor", "selftest", "import", "export", "share",
    "site",
)  # fmt: skip

WORDS = ("run", "help", "version", "completion")
"""Known words that are none of these commands."""


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
        refuse(None, "the folder in which this was started is gone; change into another one.")
    word, rest = (arguments[0], arguments[1:]) if arguments else ("run", [])
    if word == "run":
        _measure(rest)
    elif word == "help":
        _help(rest)
    elif word in ("version", "--version"):
        from mtbench import __version__

        print(f"mtbench {__version__}")
    elif word == "completion":
        from mtbench.launch.completion import main as complete

        complete(rest)
    elif word in COMMANDS:
        from mtbench.launch.commands import app

        app(arguments)
    elif not word.startswith("-") and (near := _near(word)):
        refuse(None, f"No command '{word}'. Did you mean '{near}'?")
    else:
        _measure(arguments)


def _measure(arguments: list[str]) -> None:
    """Runs the Hydra application. Nothing to measure is said to those who may not know what there is."""
    if arguments:
        from mtbench.launch.app import main as run

        run(arguments)
    else:
        from mtbench.launch.introduction import introduce

        introduce()


def _help(about: list[str]) -> None:
    """All that can be set, or the help of one command."""
    word = about[0] if about else "run"
    if word in COMMANDS or word == "completion":
        _run([word, "--help"])
    elif word == "run":
        _measure(["--help"])
    else:
        near = _near(word)
        refuse(
            None, f"No command '{word}'." + (f" Did you mean '{near}'?" if near else " mtbench help names all of them.")
        )


def _near(word: str) -> str | None:
    from difflib import get_close_matches

    return next(iter(get_close_matches(word, (*COMMANDS, *WORDS), n=1, cutoff=0.7)), None)


if __name__ == "__main__":
    main()
