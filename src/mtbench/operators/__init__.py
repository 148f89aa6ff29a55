"""The operators that mtbench measures: one file each, whose name is the operator's name. The contract is in base.py."""
