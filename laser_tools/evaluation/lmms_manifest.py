"""The name under which lmms-eval finds our chat model, without importing the model."""

from __future__ import annotations

from typing import Any


def manifest() -> Any:  # noqa: ANN401 (a class of lmms-eval, which is not among our extras)
    """What the entry point of the group `lmms_eval.models` gives."""
    from lmms_eval.models.registry_v2 import ModelManifest

    return ModelManifest("laser_tools", chat_class_path="laser_tools.evaluation.lmms.LaserTools")
