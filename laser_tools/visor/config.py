"""A VISOR model's config: the dense model's own, and which layers do what with visual tokens."""

from __future__ import annotations

from typing import Any, ClassVar, Literal, get_args

from transformers import AutoConfig, PreTrainedConfig
from transformers.configuration_utils import SubConfigSpec

from laser_tools.errors import InvalidRequest, ModelUnavailable

MODEL_TYPE = "visor"
LANGUAGE_MODELS = ("llama", "mistral", "qwen2")  # whose layers are pre-norm, with rotated keys

Configuration = tuple[int, ...]
"""The self-attention layers that are active in a call, in ascending order."""

CrossAttention = Literal["dense", "added"]
Position = Literal["conv", "none"]


class VisorConfig(PreTrainedConfig):  # type: ignore[misc]  # transformers is untyped here
    """`self_layers` update visual tokens where they are active; one that is not is what it would
    be otherwise: a cross-attention layer if it is in `cross_layers`, else a layer of text alone.

    `active` is the configuration of a call that names none, or "route". `configurations` are those
    that the router chooses from, cheapest first. With `cross_attention` "dense" the layers' own
    attention weights serve; with "added" each cross-attention layer has others before it, whose
    keys get their places by `position` (see added.py).
    """

    model_type = MODEL_TYPE
    sub_configs_defaults: ClassVar[dict[str, SubConfigSpec]] = {
        "dense_config": SubConfigSpec(AutoConfig, model_type="llava")
    }

    dense_config: Any = None  # the dense model's config, or its fields
    cross_layers: list[int] | tuple[int, ...] = ()
    self_layers: list[int] | tuple[int, ...] = ()
    active: str | list[int] | tuple[int, ...] = ()
    configurations: list[list[int]] | tuple[tuple[int, ...], ...] = ()
    cross_attention: str = "dense"
    position: str = "conv"
    router_size: int = 0  # units of its hidden layer; 0: there is no router

    @property
    def text_config(self) -> PreTrainedConfig:
        return self.dense_config.text_config

    @property
    def vision_config(self) -> PreTrainedConfig:
        return self.dense_config.vision_config

    @property
    def image_token_id(self) -> int:
        number: int = self.dense_config.image_token_id
        return number

    @property
    def vision_feature_select_strategy(self) -> str:
        strategy: str = self.dense_config.vision_feature_select_strategy
        return strategy


def checked(config: VisorConfig) -> VisorConfig:
    """Raises ModelUnavailable for a config that no VISOR model can have."""
    if not hasattr(config.dense_config, "text_config"):
        raise ModelUnavailable(
            "The config names no model that VISOR is made over (dense_config): this is a dense "
            "model, or its config lost it. Make one with VisorForConditionalGeneration.from_dense."
        )
    kind = config.text_config.model_type
    if kind not in LANGUAGE_MODELS:
        raise ModelUnavailable(
            f"VISOR is not made for language models of type '{kind}', only for "
            f"{', '.join(LANGUAGE_MODELS)}. Its visual layers can be frozen instead "
            "(freeze_visual_layers)."
        )
    _check_layers(config)
    _check_options(config)
    _check_routing(config)
    return config


def refuse_other_kinds(dense: PreTrainedConfig) -> None:
    """Raises ModelUnavailable for the config of a dense model that VISOR cannot be made of."""
    parts = ("text_config", "vision_config", "image_token_id", "vision_feature_select_strategy")
    if not all(hasattr(dense, part) for part in parts):
        raise ModelUnavailable(
            f"VISOR is made of models such as llava and llava_onevision, not of a "
            f"'{dense.model_type}'. Its visual layers can be frozen instead "
            "(freeze_visual_layers)."
        )


def _check_layers(config: VisorConfig) -> None:
    if not config.cross_layers and not config.self_layers:
        raise ModelUnavailable(
            "No layer attends to visual tokens: this is a dense model, or its config lost its "
            "layers. Make a VISOR model with VisorForConditionalGeneration.from_dense."
        )
    _refuse_missing("cross-attention", config.cross_layers, config)
    _refuse_missing("self-attention", config.self_layers, config)
    both = sorted(set(config.cross_layers) & set(config.self_layers))
    if config.cross_attention == "added" and both:
        raise ModelUnavailable(
            f"Layer {both[0]} has cross-attention of its own, so it cannot update visual tokens as "
            "well. Take it out of cross_layers or self_layers."
        )


def _check_options(config: VisorConfig) -> None:
    for name, kinds in (("cross_attention", CrossAttention), ("position", Position)):
        if getattr(config, name) not in get_args(kinds):
            known = " or ".join(get_args(kinds))
            raise ModelUnavailable(f"{name} is {known}, not '{getattr(config, name)}'.")


def _check_routing(config: VisorConfig) -> None:
    for configuration in config.configurations:
        chosen(config, configuration)
    if config.active != "route":
        chosen(config, config.active)
    elif not config.router_size:
        raise ModelUnavailable(
            'The config\'s active is "route", and there is no router: name layers instead.'
        )
    if config.router_size and len(config.configurations) < 2:
        raise ModelUnavailable(
            "The router is empty: it has fewer than two configurations to choose from. Name them "
            "in the config's configurations, or leave the router out (router_size 0)."
        )


def chosen(config: VisorConfig, layers: object) -> Configuration:
    """`layers` as a configuration. Raises InvalidRequest if the model cannot have it."""
    known = ", ".join(map(str, config.self_layers)) or "none"
    if not isinstance(layers, list | tuple) or not all(isinstance(n, int) for n in layers):
        raise InvalidRequest(
            f"A configuration is a tuple of self-attention layers (of {known}), not {layers!r}."
        )
    missing = sorted(set(layers) - set(config.self_layers))
    if missing:
        raise InvalidRequest(
            f"The model has no self-attention in layer {', '.join(map(str, missing))}; layers "
            f"that have: {known}."
        )
    return tuple(sorted(set(layers)))


def _refuse_missing(kind: str, layers: list[int] | tuple[int, ...], config: VisorConfig) -> None:
    n_layers = config.text_config.num_hidden_layers
    missing = [layer for layer in layers if not 0 <= layer < n_layers]
    if missing:
        raise ModelUnavailable(
            f"There is no layer {missing[0]} for {kind}: the model has the layers 0 to "
            f"{n_layers - 1}."
        )
