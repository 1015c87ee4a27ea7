"""Real transformers classes at toy size: random weights, tokenizers built here, no downloads."""

from __future__ import annotations

from functools import cache

import torch
from PIL import Image
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import (
    CLIPImageProcessorPil,
    CLIPVisionConfig,
    GenerationConfig,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
    PreTrainedModel,
    PreTrainedTokenizerFast,
    ProcessorMixin,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2_5_VLProcessor,
    Qwen2VLImageProcessorPil,
)

from laser_tools.evaluation.speed.random_models import image_only
from laser_tools.images.upright import UprightImage
from laser_tools.vlm.model import VLM

VOCABULARY = (
    "what where which is are the a there how many on in of with colour shape number red green blue "
    "yellow black circle square star triangle left right image one two three yes no answer word "
    "describe ? . ,"
)
LLAVA_SPECIAL = ("<pad>", "<unk>", "<s>", "</s>", "<image>")
QWEN_SPECIAL = (
    "<|endoftext|>",
    "<unk>",
    "<|im_start|>",
    "<|im_end|>",
    "<|vision_start|>",
    "<|vision_end|>",
    "<|image_pad|>",
    "<|video_pad|>",
)
ROLES = ("USER", "ASSISTANT", ":", "user", "assistant")

LLAVA_TEMPLATE = (
    "{% for message in messages %}USER: {% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}<image>\n{% else %}{{ part['text'] }}{% endif %}"
    "{% endfor %}{% endfor %}{% if add_generation_prompt %} ASSISTANT:{% endif %}"
)
QWEN_TEMPLATE = (
    "{% for message in messages %}<|im_start|>user\n{% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}<|vision_start|><|image_pad|><|vision_end|>"
    "{% else %}{{ part['text'] }}{% endif %}{% endfor %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


@cache
def toy_llava() -> VLM:
    """4 layers, 4 heads over 2 key-value heads, 6x6 visual tokens, the centre-crop rule of CLIP."""
    torch.manual_seed(0)
    tokenizer = build_tokenizer(LLAVA_SPECIAL, pad="<pad>", eos="</s>")
    vision = CLIPVisionConfig(
        hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
        image_size=48, patch_size=8,
    )  # fmt: skip
    text = LlamaConfig(
        hidden_size=48, intermediate_size=64, num_hidden_layers=4, num_attention_heads=4,
        num_key_value_heads=2, vocab_size=len(tokenizer), max_position_embeddings=512,
    )  # fmt: skip
    config = LlavaConfig(
        vision_config=vision, text_config=text,
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"), vision_feature_layer=-1,
    )  # fmt: skip
    processor = LlavaProcessor(
        image_processor=CLIPImageProcessorPil(
            size={"shortest_edge": 48}, crop_size={"height": 48, "width": 48}
        ),
        tokenizer=tokenizer,
        patch_size=8,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=LLAVA_TEMPLATE,
    )
    return build_vlm(LlavaForConditionalGeneration(config), processor, "toy-llava")


@cache
def toy_qwen() -> VLM:
    """3 layers, 4 heads over 2 key-value heads, 14 px patches merged 2x2, grids of any shape."""
    torch.manual_seed(0)
    tokenizer = build_tokenizer(QWEN_SPECIAL, pad="<|endoftext|>", eos="<|im_end|>")
    ids = tokenizer.convert_tokens_to_ids
    config = Qwen2_5_VLConfig(
        text_config={
            "hidden_size": 64, "intermediate_size": 64, "num_hidden_layers": 3,
            "num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": len(tokenizer),
            "max_position_embeddings": 512,
            "bos_token_id": None, "eos_token_id": ids("<|im_end|>"),
            "rope_parameters": {
                "rope_type": "default", "rope_theta": 10000.0, "mrope_section": [2, 3, 3]
            },
        },
        vision_config={
            "depth": 2, "hidden_size": 32, "intermediate_size": 48, "num_heads": 4,
            "out_hidden_size": 64, "patch_size": 14, "window_size": 56,
            "fullatt_block_indexes": [1],
        },
        image_token_id=ids("<|image_pad|>"), video_token_id=ids("<|video_pad|>"),
        vision_start_token_id=ids("<|vision_start|>"), vision_end_token_id=ids("<|vision_end|>"),
    )  # fmt: skip
    processor = image_only(Qwen2_5_VLProcessor)(
        Qwen2VLImageProcessorPil(
            size={"shortest_edge": 28 * 28 * 4, "longest_edge": 28 * 28 * 36}
        ),
        tokenizer,
        QWEN_TEMPLATE,
        image_token="<|image_pad|>", video_token="<|video_pad|>",
        image_token_id=ids("<|image_pad|>"), video_token_id=ids("<|video_pad|>"),
    )  # fmt: skip
    return build_vlm(Qwen2_5_VLForConditionalGeneration(config), processor, "toy-qwen")


def picture(width: int = 300, height: int = 260, seed: int = 0) -> UprightImage:
    """Noise with a bright block: no two regions of it are the same."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.randint(0, 255, (9, 11, 3), generator=generator, dtype=torch.uint8)
    image = Image.fromarray(coarse.numpy()).resize((width, height), Image.Resampling.BILINEAR)
    image.paste((255, 250, 30), (width // 2, height // 4, width * 3 // 4, height // 2))
    return UprightImage.of(image)


def build_tokenizer(
    special: tuple[str, ...], pad: str, eos: str, **named: str
) -> PreTrainedTokenizerFast:
    """A token per word; `named` special tokens become attributes, as some processors want them."""
    vocabulary = {word: i for i, word in enumerate([*special, *ROLES, *VOCABULARY.split()])}
    core = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    core.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=core, pad_token=pad, eos_token=eos, unk_token="<unk>",
        extra_special_tokens=named,
    )  # fmt: skip
    tokenizer.add_special_tokens({"additional_special_tokens": list(special)})
    return tokenizer


def build_vlm(model: PreTrainedModel, processor: ProcessorMixin, name: str) -> VLM:
    """Weights five times larger than at initialisation, so that attention is far from uniform.

    Not those of the vision tower: there a visual token is to stay with its own patch.
    """
    with torch.no_grad():
        for name_, parameter in model.named_parameters():
            if parameter.ndim >= 2 and "visual." not in name_ and "vision_" not in name_:
                parameter.mul_(5.0)
        model.lm_head.weight[processor.tokenizer.all_special_ids] = 0.0  # answers are words
    tokenizer = processor.tokenizer
    model.generation_config = GenerationConfig(
        eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id
    )
    return VLM(model, processor, name=name)
