"""Middleware for LangChain's `create_agent`. Needs langchain (1.x), the extra `agents`.

`LaserToolkit.middleware()` makes what its settings ask for. What a chat model is sent differs from
what the conversation stores: pictures are added and taken out on the wire alone. May import the
other files of `tools` and what they may.
"""

from laser_tools.tools.middleware.attached import AttachedImages
from laser_tools.tools.middleware.crops import PicturesOnTheWire

__all__ = ["AttachedImages", "PicturesOnTheWire"]
