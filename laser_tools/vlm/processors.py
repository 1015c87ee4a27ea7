"""A folder's processor, with what older folders left to the tokenizer and the model's config."""

from __future__ import annotations

from pathlib import Path

from transformers import AutoProcessor, PreTrainedConfig, ProcessorMixin

from laser_tools.errors import ModelUnavailable
from laser_tools.vlm.load_errors import explained

CLIP = "clip_vision_model"  # puts a token for the whole image before those of the patches


def load_processor(folder: Path, name: str) -> ProcessorMixin:
    """The processor in `folder`. Raises ModelUnavailable if it is damaged or for text alone."""
    with explained(f"The processor of '{name}' cannot be loaded"):
        processor = AutoProcessor.from_pretrained(
            folder, trust_remote_code=False, local_files_only=True
        )
    for part in ("tokenizer", "image_processor"):
        if getattr(processor, part, None) is None:
            raise ModelUnavailable(f"The processor of the model '{name}' has no {part}.")
    return processor


def complete(processor: ProcessorMixin, config: PreTrainedConfig) -> None:
    """Fill in what the folder's own processor files do not say, from what its others do.

    Before there was a processor_config.json the chat template lay with the tokenizer, and LLaVA's
    model counted the image's tokens.
    """
    if not processor.chat_template:
        processor.chat_template = processor.tokenizer.chat_template
    if hasattr(processor, "num_additional_image_tokens"):
        vision, strategy = config.vision_config, config.vision_feature_select_strategy
        processor.patch_size = processor.patch_size or vision.patch_size
        processor.vision_feature_select_strategy = (
            processor.vision_feature_select_strategy or strategy
        )
        if vision.model_type == CLIP:
            processor.num_additional_image_tokens = processor.num_additional_image_tokens or 1
