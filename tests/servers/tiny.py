"""A tiny Llama with random weights and a tokenizer that is made here, as transformers and mlx-lm read it, and as GGUF."""

import json
import shutil
from pathlib import Path
from typing import Any

from mtbench.frameworks._openai_server import WORDS
from mtbench.language_models import gguf
from mtbench.operators.causal_lm import CausalLM

SPECIAL = ["<unk>", "<s>", "</s>"]
BYTES = [f"<0x{byte:02X}>" for byte in range(256)]
VOCABULARY = [*SPECIAL, *BYTES, *WORDS, *(f"filler{number}" for number in range(25 - len(WORDS) % 25))]

CONFIG = {
    "architectures": ["LlamaForCausalLM"], "model_type": "llama", "vocab_size": len(VOCABULARY), "hidden_size": 64,
    "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 16,
    "rms_norm_eps": 1e-6, "rope_theta": 10000.0, "tie_word_embeddings": True, "hidden_act": "silu",
    "max_position_embeddings": 2048, "bos_token_id": 1, "eos_token_id": 2,
}  # fmt: skip
"""Its tables are tied, so that it repeats the last word: a text goes on, and each token of it is one of letters."""

TEMPLATE = "{% for message in messages %}{{ message['role'] }} {{ message['content'] }} {% endfor %}"


def problem() -> CausalLM:
    return CausalLM(config=json.dumps(CONFIG), phase="generate")


def write_folder(folder: Path) -> Path:
    """With a word for each token."""
    from tokenizers import Tokenizer, models, pre_tokenizers

    shutil.copytree(problem().stored(0).folder, folder)
    tokenizer = Tokenizer(models.WordLevel({word: number for number, word in enumerate(VOCABULARY)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.save(str(folder / "tokenizer.json"))
    names = {"unk_token": "<unk>", "bos_token": "<s>", "eos_token": "</s>", "chat_template": TEMPLATE}
    said = {"tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": CONFIG["max_position_embeddings"]}
    (folder / "tokenizer_config.json").write_text(json.dumps(said | names))
    return folder


def write_gguf(file: Path) -> Path:
    """With SentencePiece's pieces, of which only single bytes are ever found: a prompt has a token for each letter."""
    package = gguf.package()
    made = problem()
    reader = package.GGUFReader(gguf.write(made.stored(0), made.model, "F32"))
    writer = package.GGUFWriter(file, "llama")
    for name, one in reader.fields.items():
        if not name.startswith(("GGUF.", "tokenizer.", "general.architecture")):
            writer.add_key_value(name, one.contents(), one.types[0])
    kinds = package.TokenType
    types: list[Any] = [kinds.UNKNOWN, kinds.CONTROL, kinds.CONTROL, *[kinds.BYTE] * len(BYTES)]
    writer.add_tokenizer_model("llama")
    writer.add_token_list(VOCABULARY)
    writer.add_token_scores([0.0] * len(VOCABULARY))
    writer.add_token_types(types + [kinds.NORMAL] * (len(VOCABULARY) - len(types)))
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_unk_token_id(0)
    for tensor in reader.tensors:
        writer.add_tensor(tensor.name, tensor.data)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return file
