"""Excerpts of files as their tools write them, in `published/`, with the names that tests know them by."""

import json
from pathlib import Path

FOLDER = Path(__file__).parent / "published"

HARDWARE = "Apple_M4_Pro_10P+4E+20GPU_24GB"
DATE = "2025-04-12__16:51:12"

LAYERS = (FOLDER / "layers.csv").read_text()
LATER_LAYERS = (FOLDER / "layers_later.csv").read_text()
LANGUAGE_MODELS = (FOLDER / "language_models.csv").read_text()
WITH_MEMORY = (FOLDER / "language_models_with_memory.csv").read_text()
WITH_DEVIATIONS = (FOLDER / "language_models_with_deviations.csv").read_text()
SETTINGS = (FOLDER / "settings.json").read_text()
LLAMA_ROWS = json.loads((FOLDER / "llama_bench.json").read_text())
LLAMA_CSV = (FOLDER / "llama_bench.csv").read_text()
LLMFIT = (FOLDER / "llmfit.json").read_text()
