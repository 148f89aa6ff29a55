"""Measuring: the controller hands cells to workers over a wire, and the protocol says in which order and for how long."""
