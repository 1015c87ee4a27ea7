"""Small files that ask for much memory or time: each must be refused."""

from __future__ import annotations

import functools
import zlib

from tests.hardening.image_files import (
    chunk,
    grey_png,
    jpeg_with_scans,
    jpeg_with_segments,
    jpeg_with_size,
    png,
    webp_with_size,
)


def packed_zeros(n_bytes: int) -> bytes:
    """`zlib.compress(bytes(n_bytes))` without holding the bytes."""
    packer, block = zlib.compressobj(9), bytes(2**20)
    return b"".join(packer.compress(block) for _ in range(n_bytes // 2**20)) + packer.flush()


@functools.cache
def bombs() -> dict[str, bytes]:
    rows = bytes(29 * 28)
    zeros = packed_zeros(100 * 2**20)
    text = chunk(b"zTXt", b"a\0\0" + zeros)
    profile = chunk(b"iCCP", b"a\0\0" + zeros)
    international = chunk(b"iTXt", b"a\0\1\0\0\0" + zeros)
    under_the_cap = zlib.compress(bytes(1_000_000), 9)  # Pillow refuses one text of 1 MiB
    many = b"".join(chunk(b"zTXt", b"%d\0\0" % n + under_the_cap) for n in range(999))
    full = packed_zeros(2**20)  # what Pillow inflates of one chunk
    nameless = chunk(b"zTXt", b"\0\0" + full)  # Pillow adds up the texts that have a name
    not_utf8 = chunk(b"iTXt", b"a\0\1\0\0\0" + zlib.compress(b"\xff" * 2**20, 9))
    return {
        "png-40MP": grey_png((6400, 6251)),
        "png-100MP": grey_png((10_000, 10_000)),
        "png-header-4GP": png((60_000, 60_000), b""),
        "png-header-line": png((2**31 - 1, 1), b""),
        "png-zTXt": png((28, 28), rows, before=text),
        "png-many-zTXt": png((28, 28), rows, before=many),
        "png-iTXt": png((28, 28), rows, before=international),
        "png-iCCP": png((28, 28), rows, before=profile),
        "png-many-iCCP": png((28, 28), rows, before=chunk(b"iCCP", b"a\0\0" + full) * 11_000),
        "png-iCCP-behind": png((28, 28), rows, behind=chunk(b"iCCP", b"a\0\0" + full) * 11_000),
        "png-nameless-zTXt": png((28, 28), rows, before=nameless * 11_000),
        "png-broken-iTXt": png((28, 28), rows, before=not_utf8 * 11_000),
        "png-chunks": png((28, 28), rows, before=chunk(b"teST", b"") * 500_000),
        "jpeg-40MP": jpeg_with_size((6400, 6251)),
        "jpeg-4GP": jpeg_with_size((65_500, 65_500)),
        "jpeg-scans": jpeg_with_scans(10_000),
        "jpeg-exif": jpeg_with_segments(b"\xff\xe1\x00\x0aExif\0\0ab", 500_000),
        "jpeg-junk-between": jpeg_with_segments(b"\0\xff\xe1\x00\x0aExif\0\0ab", 500_000),
        "jpeg-hidden-exif": jpeg_with_segments(b"\xff\xc8\xff\xe1\x00\x0aExif\0\0ab", 300_000),
        "jpeg-segments": jpeg_with_segments(b"\xff\xfe\x00\x03a", 1_000_000),
        "jpeg-fill": jpeg_with_segments(b"\xff" * 2**20 + b"\0", 8),
        "webp-40MP": webp_with_size((6400, 6251)),
        "webp-268MP": webp_with_size((16_384, 16_384)),
    }
