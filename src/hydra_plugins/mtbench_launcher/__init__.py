"""Hydra loads what stands here at each start, so it is kept thin."""
