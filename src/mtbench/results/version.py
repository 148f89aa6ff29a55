"""The version of mtbench, which records and plans bear."""

__version__ = "0.1.0"
