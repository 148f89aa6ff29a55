"""Decoder-only language models: published configurations, the definition, weights on disk, and the libraries' own models.

`config` is the one parser of a `config.json`; `dimensions` gives its sizes by the operators' names, `definition` is the maths,
`checkpoint` the weights. `torch`, `mlx`, `llama_cpp` and `openai_server` run the models of transformers, mlx-lm, llama.cpp and
servers; `gguf` writes and reads llama.cpp's files.
"""
