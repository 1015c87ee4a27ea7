"""Images on their way in: bytes become upright RGB pixels here and nowhere else.

Hostile files are refused before a decoder sees them. An `UprightImage` is decoded and hashed once,
and images are kept by handle for a conversation. May import `errors` alone.
"""

from laser_tools.images.decode import (
    DEFAULT_LIMITS,
    FORMATS,
    UNDECODABLE,
    ImageLimits,
    decode_image,
    upright_rgb,
)
from laser_tools.images.files import open_image_file
from laser_tools.images.upright import UprightImage

__all__ = [
    "DEFAULT_LIMITS",
    "FORMATS",
    "UNDECODABLE",
    "ImageLimits",
    "UprightImage",
    "decode_image",
    "open_image_file",
    "upright_rgb",
]
