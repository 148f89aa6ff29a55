"""`mtbench selftest`: tests the instrument on this machine.

Everything is measured through the same controller, workers, blocks and statistics as a user's own sweep: subjects whose
truth is known (`trials`), the same call timed by others (`rivals`, `agreement`), and whole sweeps from the command line
(`sweeps`, `timed`). `goals` has what must come out, `surroundings` says which goals apply here, `run` is the way in;
`outcome` is what it gives, as the report reads it, and `table` shows it in a terminal.
"""
