"""`python -m mtbench`: a known word goes to launch/commands.py, everything else to the Hydra application."""

import sys
from difflib import get_close_matches

COMMANDS = ("list", "report", "compare", "doctor", "selftest")


def main() -> None:
    arguments = sys.argv[1:]
    if arguments and arguments[0] in COMMANDS:
        from mtbench.launch.commands import app

        app(arguments)
    elif arguments and (near := get_close_matches(arguments[0], COMMANDS, n=1, cutoff=0.7)):
        print(f"mtbench: No command '{arguments[0]}'. Did you mean '{near[0]}'?", file=sys.stderr)
        sys.exit(2)
    else:
        from mtbench.launch.app import main as run

        run(arguments)


if __name__ == "__main__":
    main()
