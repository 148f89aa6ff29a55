"""The frameworks that mtbench measures: one file each, whose name is the framework's name. The contract is in base.py."""
