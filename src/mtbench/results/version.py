"""The version of mtbench, which records and plans contain."""

__version__ = "0.1.0"
