"""VisorForConditionalGeneration: a dense LLaVA whose layers treat visual tokens by the layer rule.

It saves, loads and generates as any other model of transformers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers import (
    AutoConfig,
    AutoModelForImageTextToText,
    Cache,
    GenerationMixin,
    PreTrainedModel,
)
from transformers.modeling_outputs import CausalLMOutputWithPast

from laser_tools.errors import InvalidRequest, ModelUnavailable
from laser_tools.visor.added import added_to
from laser_tools.visor.cache import VisorCache
from laser_tools.visor.choice import Asked, Choice, choice_of
from laser_tools.visor.columns import Columns
from laser_tools.visor.config import (
    MODEL_TYPE,
    Configuration,
    VisorConfig,
    checked,
    refuse_other_kinds,
)
from laser_tools.visor.grouped import choices, through
from laser_tools.visor.masks import Masks
from laser_tools.visor.router import Router
from laser_tools.visor.walk import Stack, Stream


@dataclass
class VisorOutput(CausalLMOutputWithPast):  # type: ignore[misc]
    """The dense model's output, and the configuration that every row took."""

    configurations: tuple[Configuration, ...] | None = None


class VisorForConditionalGeneration(PreTrainedModel, GenerationMixin):  # type: ignore[misc]
    """A dense model's vision tower, layers and head, and a router if there is one."""

    config_class = VisorConfig
    base_model_prefix = "dense"
    main_input_name = "input_ids"
    input_modalities = ("image", "text")
    _supports_sdpa = True
    _supports_attention_backend = True
    _skip_keys_device_placement = ("past_key_values",)

    def __init__(self, config: VisorConfig) -> None:
        super().__init__(checked(config))
        self.dense = AutoModelForImageTextToText.from_config(config.dense_config)
        self.added = added_to(config, self.get_decoder().config)
        self.router = Router(config) if config.router_size else None
        self.post_init()

    @classmethod
    def from_dense(
        cls,
        model: PreTrainedModel,
        cross_layers: Sequence[int],
        self_layers: Sequence[int],
        **settings: object,
    ) -> VisorForConditionalGeneration:
        """Over a dense model, whose weights are shared, not copied.

        `settings` are further fields of VisorConfig; `active` is `self_layers` unless it says
        otherwise. Raises ModelUnavailable for a model that is none of LLaVA's kind or has no such
        layers, InvalidRequest for a configuration of other layers.
        """
        if isinstance(model, VisorForConditionalGeneration):
            raise ModelUnavailable(
                "The model is a VISOR model already: give the dense one that it was made of, or "
                "change its configuration in the call (self_layers)."
            )
        refuse_other_kinds(model.config)
        config = VisorConfig(
            dense_config=deepcopy(model.config),  # what is set in ours is not to change theirs
            cross_layers=sorted(cross_layers),
            self_layers=sorted(self_layers),
            **{"active": sorted(self_layers), **settings},
        )
        with torch.device("meta"):
            made = cls(config)
        made.dense = model
        made.added = added_to(config, made.get_decoder().config).to(model.device, model.dtype)
        if made.router is not None:
            made.router = Router(config).to(model.device, model.dtype)
        made.generation_config = model.generation_config
        made.train(model.training)
        return made

    @property
    def stack(self) -> Stack:
        """The layers that a batch goes through."""
        added = dict(zip(self.config.cross_layers, self.added, strict=False))
        return Stack(self.get_decoder().layers, self.config, added)

    def get_decoder(self) -> PreTrainedModel:
        """The dense model's language model, without its head."""
        return self.dense.get_decoder()

    def get_input_embeddings(self) -> nn.Module:
        embeddings: nn.Module = self.dense.get_input_embeddings()
        return embeddings

    def get_output_embeddings(self) -> nn.Module:
        head: nn.Module = self.dense.get_output_embeddings()
        return head

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        past_key_values: Cache | None = None,
        inputs_embeds: Tensor | None = None,
        pixel_values: Tensor | None = None,
        image_sizes: Tensor | None = None,
        batch_num_images: Tensor | None = None,
        self_layers: Asked = None,
        visual: Tensor | None = None,
        labels: Tensor | None = None,
        use_cache: bool | None = None,
        logits_to_keep: int | Tensor = 0,
        **_: object,
    ) -> VisorOutput:
        """As the dense model's, and `self_layers`, the configuration (see `Asked`).

        With `inputs_embeds`, `visual` (B, S) says which of them are visual tokens. The cache is a
        VisorCache.
        """
        if visual is None:
            visual = self._visual(input_ids, inputs_embeds)
        if inputs_embeds is None:
            images = {"image_sizes": image_sizes, "batch_num_images": batch_num_images}
            inputs_embeds = self._embedded(input_ids, visual, pixel_values, images)
        cache = self._cache(past_key_values, use_cache)
        stream = self.stream(inputs_embeds, visual, attention_mask, position_ids, cache)
        choice = choice_of(self_layers, self.config, self.router, stream)
        hidden, taken = self._through(stream, choice)
        kept = slice(-logits_to_keep, None) if isinstance(logits_to_keep, int) else logits_to_keep
        logits = self.get_output_embeddings()(self.get_decoder().norm(hidden[:, kept]))
        return VisorOutput(
            loss=None if labels is None else self._loss(logits, labels),
            logits=logits,
            past_key_values=cache,
            configurations=tuple(taken),
        )

    def begun(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        pixel_values: Tensor | None = None,
        **images: Tensor | None,
    ) -> Stream:
        """A batch before the first layer; `images`: `image_sizes`, `batch_num_images`."""
        visual = self._visual(input_ids, None)
        embeds = self._embedded(input_ids, visual, pixel_values, images)
        return self.stream(embeds, visual, attention_mask, None, None)

    def routed(self, **inputs: Tensor) -> Sequence[Configuration]:
        """The router's choice for every row, without the layers after it; `inputs` as `begun`.

        Raises InvalidRequest if there is no router.
        """
        stream = self.begun(**inputs)
        choice = choice_of("route", self.config, self.router, stream)
        return choices(self.stack, stream, choice)

    def prepare_inputs_for_generation(
        self, input_ids: Tensor, *, is_first_iteration: bool = False, **kwargs: object
    ) -> dict[str, Any]:
        """Images are given in the first pass only, unless nothing is kept of it."""
        inputs: dict[str, Any] = super().prepare_inputs_for_generation(
            input_ids, is_first_iteration=is_first_iteration, **kwargs
        )
        if not is_first_iteration and kwargs.get("use_cache", True):
            inputs["pixel_values"] = None
        return inputs

    def _loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        size = self.config.text_config.vocab_size
        loss: Tensor = self.loss_function(logits=logits, labels=labels, vocab_size=size)
        return loss

    def _visual(self, input_ids: Tensor | None, inputs_embeds: Tensor | None) -> Tensor:
        if input_ids is None or inputs_embeds is not None:
            raise InvalidRequest(
                "With inputs_embeds, say which of them are visual tokens (visual, as booleans)."
            )
        found: Tensor = input_ids == self.config.image_token_id
        return found

    def _embedded(
        self,
        input_ids: Tensor | None,
        visual: Tensor,
        pixel_values: Tensor | None,
        images: Mapping[str, Tensor | None],
    ) -> Tensor:
        """Token embeddings, those of image tokens from the projector."""
        embeds: Tensor = self.get_input_embeddings()(input_ids)
        if pixel_values is None:
            return embeds
        given = {name: value for name, value in images.items() if value is not None}
        found = self.dense.get_image_features(pixel_values, return_dict=True, **given)
        features = torch.cat(list(found.pooler_output)).to(embeds)
        if len(features) != int(visual.sum()):
            raise InvalidRequest(
                f"The prompts have {int(visual.sum())} image tokens, and the images "
                f"{len(features)} features: give every image of the prompts, and no other."
            )
        filled: Tensor = embeds.masked_scatter(visual[..., None], features)
        return filled

    def _cache(self, past: Cache | None, use_cache: bool | None) -> VisorCache | None:
        if isinstance(past, VisorCache):
            return past
        if past is not None and past.get_seq_length() > 0:
            raise InvalidRequest("What a VISOR model has read is kept in a VisorCache, no other.")
        wanted = self.config.text_config.use_cache if use_cache is None else use_cache
        n_layers = len(self.get_decoder().layers) + len(self.added)
        return VisorCache(n_layers) if wanted else None

    def stream(
        self,
        embeds: Tensor,
        visual: Tensor,
        attention_mask: Tensor | None,
        position_ids: Tensor | None,
        cache: VisorCache | None,
    ) -> Stream:
        """A batch before the first layer."""
        columns = Columns.of(visual)
        decoder = self.get_decoder()
        if position_ids is None:
            start = 0 if cache is None else cache.get_seq_length()
            position_ids = torch.arange(embeds.shape[1], device=embeds.device)[None] + start
        cos, sin = decoder.rotary_emb(embeds, position_ids=position_ids)
        rope = cos.expand(len(embeds), -1, -1), sin.expand(len(embeds), -1, -1)
        masks = Masks(decoder.config, columns, cache, attention_mask)
        return Stream(embeds, columns.text(embeds), columns, rope, masks, cache)

    def _through(self, stream: Stream, choice: Choice) -> tuple[Tensor, Sequence[Configuration]]:
        """The states (B, S, d) after the last layer, and the configuration of every row."""
        return through(self.stack, stream, choice)


def register() -> None:
    """Teach transformers' auto classes VISOR, so that it loads like any other model."""
    AutoConfig.register(MODEL_TYPE, VisorConfig, exist_ok=True)
    AutoModelForImageTextToText.register(VisorConfig, VisorForConditionalGeneration, exist_ok=True)
