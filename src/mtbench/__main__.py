"""`python -m mtbench`: a known word goes to the commands of cli.py, everything else to the Hydra application."""

import sys

COMMANDS = ("list", "report", "compare", "doctor", "selftest")


def main() -> None:
    arguments = sys.argv[1:]
    if arguments and arguments[0] in COMMANDS:
        from mtbench.cli import app

        app(arguments)
    else:
        from mtbench.app import main as run

        run(arguments)


if __name__ == "__main__":
    main()
