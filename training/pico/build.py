"""pico's parts, all stock: WordPiece tokenizer, LlavaProcessor, LlavaForConditionalGeneration."""

from __future__ import annotations

import re

from tokenizers import Tokenizer, decoders, normalizers, pre_tokenizers
from tokenizers.models import WordPiece
from transformers import (
    CLIPImageProcessorPil,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
    PreTrainedTokenizerFast,
)

from laser_tools.evaluation.benchmarks.microscenes.words import (
    COLOURS,
    COUNTS,
    DIRECTIONS,
    PHRASINGS,
    PLACES,
    SHAPES,
    WAYS,
    plural,
)
from laser_tools.pico.tower import PicoTowerConfig, register

GRID, INPUT_PX = 12, 96  # tokens a side, pixels a side
SPECIALS = ("[PAD]", "[UNK]", "<s>", "</s>", "<image>")
INIT_STD = 0.06  # about 1/sqrt(width): with the usual 0.02 attention is flat and learning stalls
INSTRUCTION = "Answer briefly."
CHAT_TEMPLATE = (
    "<s>"
    "{% for message in messages %}"
    "{{ message['role'] }}: "
    "{% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}<image>{% elif part['type'] == 'text' %}\n{{ part['text'] }}"
    "{% endif %}{% endfor %} "
    "{% endfor %}"
    "{% if add_generation_prompt %}assistant:{% endif %}"
)
_OTHER_WORDS = "yes no a an the shape shapes nothing user assistant answer briefly"


def _vocabulary() -> list[str]:
    """Every token: words of the world, and single characters so that any word can be spelt."""
    texts = [template for group in PHRASINGS.values() for template in group]
    words = set(re.findall(r"[a-z]+", re.sub(r"{\w+}", " ", " ".join(texts).lower())))
    words |= {*COLOURS, *SHAPES, *map(plural, SHAPES), *COUNTS, *WAYS.values()}
    for phrase in (*DIRECTIONS, *(place for row in PLACES for place in row)):
        words |= set(phrase.split())
    words |= set(_OTHER_WORDS.split())
    chars = "abcdefghijklmnopqrstuvwxyz0123456789"
    pieces = [f"##{char}" for char in chars]
    return [*SPECIALS, *"?.:,'-()", *chars, *pieces, *sorted(words - set(chars))]


TOKENS = tuple(_vocabulary())


def build_tokenizer() -> PreTrainedTokenizerFast:
    """Lower-case WordPiece; a label is one token a character ("47" -> "4", "##7")."""
    vocab = {token: i for i, token in enumerate(TOKENS)}
    tokenizer = Tokenizer(WordPiece(vocab, unk_token="[UNK]", max_input_chars_per_word=40))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece(prefix="##", cleanup=True)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="[PAD]",
        unk_token="[UNK]",
        bos_token="<s>",
        eos_token="</s>",
        additional_special_tokens=["<image>"],
        padding_side="left",
    )


def build_processor() -> LlavaProcessor:
    """Squashes any image to 96x96 (no centre crop: the grid covers the whole image)."""
    image_processor = CLIPImageProcessorPil(
        size={"height": INPUT_PX, "width": INPUT_PX},
        do_center_crop=False,
        image_mean=[0.5] * 3,
        image_std=[0.5] * 3,
    )
    return LlavaProcessor(
        image_processor=image_processor,
        tokenizer=build_tokenizer(),
        patch_size=INPUT_PX // GRID,
        vision_feature_select_strategy="full",
        chat_template=CHAT_TEMPLATE,
    )


def build_config() -> LlavaConfig:
    """An 8-layer Llama after a convolutional tower: 3.6 M + 0.9 M parameters."""
    register()
    ids = {token: i for i, token in enumerate(TOKENS)}
    text = LlamaConfig(
        vocab_size=len(ids),
        hidden_size=192,
        intermediate_size=512,
        num_hidden_layers=8,
        num_attention_heads=6,
        num_key_value_heads=6,
        max_position_embeddings=1024,
        initializer_range=INIT_STD,
        tie_word_embeddings=True,
        bos_token_id=ids["<s>"],
        eos_token_id=ids["</s>"],
        pad_token_id=ids["[PAD]"],
    )
    return LlavaConfig(
        vision_config=PicoTowerConfig(hidden_size=144, widths=[32, 64, 144]),
        text_config=text,
        image_token_index=ids["<image>"],
        image_seq_length=GRID * GRID,
        projector_hidden_act="relu",
        vision_feature_select_strategy="full",
        vision_feature_layer=-1,
        tie_word_embeddings=True,
    )


def build_model() -> LlavaForConditionalGeneration:
    """pico with fresh weights."""
    return LlavaForConditionalGeneration(build_config())
