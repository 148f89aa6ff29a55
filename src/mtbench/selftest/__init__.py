"""`mtbench selftest`: tests the instrument on this machine.

Everything is measured through the same controller, workers, blocks and statistics as a user's own sweep: subjects whose
truth is known (`trials`), the same call timed by others (`rivals`, `agreement`), and whole sweeps from the command line
(`sweeps`). `goals` has what must come out, `surroundings` says which goals apply here, and `run` is the way in. It gives a
`mtbench.results.selftest.Outcome`, which the report reads, too; `table` shows it in a terminal.
"""
