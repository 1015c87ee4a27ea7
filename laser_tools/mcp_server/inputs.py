"""Arguments of `add_image`; those of the other tools are `tools.inputs`."""

from __future__ import annotations

import base64
import binascii
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, WithJsonSchema

from laser_tools.errors import ImageRejected

MAX_BASE64_CHARS = 3 * 2**20

Text = Annotated[str, WithJsonSchema({"type": "string"})]


class AddImageInput(BaseModel):
    """A picture's bytes."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    data: Text = Field(default="", description="A PNG, JPEG or WebP file's bytes in base64")

    def decoded(self) -> bytes:
        """The bytes of `data`. Raises ImageRejected."""
        if not self.data:
            raise ImageRejected("There is no image: give its bytes as data, in base64.")
        if len(self.data) > MAX_BASE64_CHARS:
            raise ImageRejected(
                f"The image has {len(self.data)} characters of base64, more than "
                f"{MAX_BASE64_CHARS}. Make it smaller."
            )
        try:
            return base64.b64decode(self.data, validate=True)
        except (binascii.Error, ValueError):
            raise ImageRejected("The data is not base64. Encode the file's bytes again.") from None


class AddImageOrPathInput(AddImageInput):
    """A picture's bytes, or its path in the folder that the server was started with."""

    path: Text = Field(default="", description="Or the file's path inside the server's folder")
