"""`python -m mtbench.selftest.simulation`: tests the statistics on simulated measurements whose true values are known.

`noise` makes measurements as machines make them, `judged` runs the code of `results.inference` over thousands of them at once,
`promises` has the tables and what each must show, `ticks`, `earlier` and `stopping` those of a question of its own.
"""
