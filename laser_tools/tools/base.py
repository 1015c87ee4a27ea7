"""Shared by both tools: engine, images, the conversation's thread, planner errors."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

from langchain_core.runnables import RunnableConfig
from langchain_core.tools import BaseTool, ToolException
from pydantic import ConfigDict, Field, ValidationInfo, field_validator, model_validator

from laser_tools.engine.base import Engine
from laser_tools.engine.lazy import LazyEngine
from laser_tools.errors import LaserError
from laser_tools.images.store import DEFAULT_THREAD, ImageStore
from laser_tools.schema import AbstainRule
from laser_tools.settings import read_settings
from laser_tools.tools.conversation import Conversation, Seen
from laser_tools.tools.delivery import DEFAULT_BUDGET_BYTES, CropDelivery, image_blocks
from laser_tools.tools.io import ToolIO
from laser_tools.tools.pictures import EvidenceView, drawn, pictures_of
from laser_tools.tools.refusals import explain, explain_invalid_arguments

Reply = tuple[str | list[dict[str, Any]], dict[str, Any]]  # content for the planner, artifact


class LaserConfig(AbstainRule):
    """The configuration that the toolkit and each tool share.

    Without an `engine`, a `model` given here runs in this process, loaded at the first call.
    Without a model either, the worker at LASER_BASE_URL answers; without that, the model that
    LASER_MODEL names, in this process.
    """

    model_config = ConfigDict(arbitrary_types_allowed=True)

    model: str = Field(default_factory=lambda: read_settings().model)
    engine: Engine = Field(default_factory=lambda: None, validate_default=True, repr=False)
    images: ImageStore = Field(default_factory=ImageStore, repr=False)
    crops: CropDelivery = "handle"
    evidence: EvidenceView = "crops"
    crop_budget_bytes: int = Field(default=DEFAULT_BUDGET_BYTES, ge=1024)

    @model_validator(mode="before")
    @classmethod
    def _worker_of_environment(cls, given: Any) -> Any:  # noqa: ANN401 (whatever was passed)
        if not isinstance(given, dict) or given.get("engine") or "model" in given:
            return given
        if read_settings().base_url is None:
            return given
        from laser_tools.client import WorkerClient

        return {**given, "engine": WorkerClient.from_env()}

    @field_validator("engine", mode="before")
    @classmethod
    def _local_by_default(cls, engine: Engine | None, info: ValidationInfo) -> Engine:
        return LazyEngine(info.data["model"]) if engine is None else engine


class LaserTool(LaserConfig, BaseTool):
    """A read-only tool over the images of one conversation (`configurable.thread_id`).

    Expected failures reach the planner as tool messages with status "error" that say what to do.
    """

    response_format: Literal["content", "content_and_artifact"] = "content_and_artifact"
    handle_tool_error: Any = True
    handle_validation_error: Any = explain_invalid_arguments

    def _conversation(self, io: ToolIO, thread_id: str) -> Conversation:
        return Conversation(self.images, thread_id, io, rule=self)

    def _reply(self, seen: Seen, thread_id: str) -> Reply:
        """Text alone, or followed by the pictures when they are delivered inline."""
        text, artifact = seen.text, seen.artifact
        if self.crops != "inline":
            return text, artifact
        pictures = dict.fromkeys(pictures_of(artifact, self.evidence))
        shown = drawn(pictures, self.images, thread_id)
        blocks = image_blocks(list(shown.values()), self.crop_budget_bytes)
        return [{"type": "text", "text": text}, *blocks], artifact


def thread_of(config: RunnableConfig | None) -> str:
    """The conversation a call belongs to; 0 and "" are names as any other."""
    configurable = (config or {}).get("configurable") or {}
    thread_id = configurable.get("thread_id")
    return DEFAULT_THREAD if thread_id is None else str(thread_id)


@contextmanager
def planner_errors() -> Iterator[None]:
    """Expected failures as `ToolException`, with the planner's next step in the text."""
    try:
        yield
    except LaserError as error:
        raise ToolException(explain(error)) from None
