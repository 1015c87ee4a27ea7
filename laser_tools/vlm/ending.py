"""The end of an answer: all that is taken over from a checkpoint's generation config.

`generate` fills what a call leaves unset from the model's generation config. A checkpoint's
`use_cache: false` there makes it run the whole prompt over a prefilled cache, `stop_strings` or
`min_new_tokens` change what is said: wrong answers, without a word. So nothing of it is kept but
the tokens that end an answer, fill a row or begin a text.
"""

from __future__ import annotations

import json
from pathlib import Path

from transformers import GenerationConfig, PreTrainedModel, PreTrainedTokenizerBase

TOKENS = ("eos_token_id", "pad_token_id", "bos_token_id")


def saved(folder: Path) -> GenerationConfig | None:
    """The tokens that the folder's generation config names; None where it has no such file.

    Whole, transformers would refuse some (`num_return_sequences` without sampling). Raises
    ValueError for a damaged one.
    """
    file = folder / "generation_config.json"
    if not file.is_file():
        return None
    settings = json.loads(file.read_text(encoding="utf-8"))
    return GenerationConfig(**{name: settings.get(name) for name in TOKENS})


def bare(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> GenerationConfig:
    """The tokens that the model's generation config names, and the tokenizer's for the others."""
    named = {name: getattr(model.generation_config, name) for name in TOKENS}
    return GenerationConfig(
        **{name: getattr(tokenizer, name) if ids is None else ids for name, ids in named.items()}
    )
