"""Decoder-only language models: what a published configuration says, the definition, weights on disk, and the libraries'.

`config` is the one parser of a `config.json`; `dimensions` gives its sizes in the words of the operators, `definition` is
the maths, `checkpoint` the weights, and `torch` and `mlx` the models of transformers and mlx-lm.
"""
