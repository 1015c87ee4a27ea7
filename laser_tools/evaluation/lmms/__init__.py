"""Every method as a chat model of lmms-eval, which finds it by an entry point.

    lmms-eval --model laser_tools --model_args pretrained=pico,method=laser --tasks ...

Only `model` needs lmms-eval, which imports it and is not among our extras.
"""

from __future__ import annotations

from typing import Any


def manifest() -> Any:  # noqa: ANN401 (a class of lmms-eval)
    """Where the model is; for the entry points of the group `lmms_eval.models`."""
    from lmms_eval.models.registry_v2 import ModelManifest

    path = "laser_tools.evaluation.lmms.model.LaserTools"
    return ModelManifest("laser_tools", chat_class_path=path)
