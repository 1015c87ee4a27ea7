"""The standard tool tests of langchain-tests: 11 for each tool."""

from __future__ import annotations

from typing import Any

from langchain_core.tools import BaseTool
from langchain_tests.integration_tests import ToolsIntegrationTests
from langchain_tests.unit_tests import ToolsUnitTests

from laser_tools.images.store import ImageStore
from laser_tools.tools import LaserGroundedVQA, LaserZoomToEvidence
from tests.tools.fakes import ColourEngine, scene


def constructor_params() -> dict[str, Any]:
    images = ImageStore()
    images.add(scene())
    return {"engine": ColourEngine(), "images": images}


ENV: tuple[dict[str, str], dict[str, Any], dict[str, Any]] = (
    {"LASER_MODEL": "some-folder"},
    {},
    {"model": "some-folder"},
)


class _GroundedVQA:
    tool_constructor: type[BaseTool] = LaserGroundedVQA
    tool_constructor_params = property(lambda _: constructor_params())
    tool_invoke_params_example = {"image": "img_1", "question": "What colour is it?"}  # noqa: RUF012


class _ZoomToEvidence:
    tool_constructor: type[BaseTool] = LaserZoomToEvidence
    tool_constructor_params = property(lambda _: constructor_params())
    tool_invoke_params_example = {"image": "img_1", "what": "the rectangle"}  # noqa: RUF012


class TestGroundedVQAUnit(_GroundedVQA, ToolsUnitTests):
    init_from_env_params = ENV


class TestGroundedVQAIntegration(_GroundedVQA, ToolsIntegrationTests):
    pass


class TestZoomToEvidenceUnit(_ZoomToEvidence, ToolsUnitTests):
    init_from_env_params = ENV


class TestZoomToEvidenceIntegration(_ZoomToEvidence, ToolsIntegrationTests):
    pass
