"""A chat model that looks for a thing, asks about it, and repeats what the tools said.

It does not know the answer: where the answer is printed, it came from a tool.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

from tests.providers.apis import Json, Reply, Turn
from tests.providers.server import Planner

HANDLE, FILE = "img_1", "scene.png"
ASKED = "What number is on the yellow square?"
ADD = ("add_image", {"path": FILE})
LOOK = (
    ("zoom_to_evidence", {"image": HANDLE, "what": "the yellow square", "n_regions": 1}),
    ("grounded_vqa", {"image": HANDLE, "question": ASKED, "choices": []}),
)
FINAL = "final_answer"  # a tool by which an agent of smolagents ends


class StepPlanner(Planner):
    """Takes one step a request, whatever a framework makes of a tool's result on its way."""

    def plan(self, turns: Sequence[Turn]) -> Reply:
        offered = self.offered
        steps = (ADD, *LOOK) if "add_image" in offered else LOOK
        taken = len(self.bodies) - 1
        if taken < len(steps):
            return _call(taken, *steps[taken])
        said = f"The tool says: {turns[-1].text}"
        return _call(taken, FINAL, {"answer": said}) if FINAL in offered else Reply(said)

    @property
    def offered(self) -> dict[str, Json]:
        """The arguments' schemas by the tools' names, as the requests have them."""
        requests = [json.loads(body) for body in self.bodies]
        tools = [tool for request in requests for tool in request.get("tools") or ()]
        functions = [tool.get("function", tool) for tool in tools]
        return {function["name"]: function["parameters"] for function in functions}

    @property
    def heard(self) -> list[str]:
        """The last text of each request, in order."""
        return [turns[-1].text for turns in self.turns]


def _call(number: int, tool: str, arguments: Json) -> Reply:
    return Reply(call=(f"call_{number}", tool, arguments))
