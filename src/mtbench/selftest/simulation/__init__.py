"""`python -m mtbench.selftest.simulation`: the statistics prove themselves on measurements whose truth is known.

`noise` makes measurements as machines make them, `judged` runs the code of `results.inference` over thousands of them at once,
`promises` has the tables and what each must show, `ticks`, `earlier` and `stopping` those of a question of its own.
"""
