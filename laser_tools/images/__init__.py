"""Images on their way in: bytes become upright RGB pixels here and nowhere else.

Hostile files are refused before a decoder sees them, and images are kept by handle for a
conversation. May import the hall alone.
"""

from laser_tools.images.decode import (
    DEFAULT_LIMITS,
    FORMATS,
    UNDECODABLE,
    ImageLimits,
    decode_image,
    open_image_file,
    upright_rgb,
)

__all__ = [
    "DEFAULT_LIMITS",
    "FORMATS",
    "UNDECODABLE",
    "ImageLimits",
    "decode_image",
    "open_image_file",
    "upright_rgb",
]
