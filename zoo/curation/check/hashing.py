"""Perceptual hashes of images, and the search for all pairs within a Hamming radius."""

from __future__ import annotations

import itertools

import cv2
import numpy as np
from numpy.typing import NDArray

BITS = 64
THUMB = 16  # pixels: enough to distinguish two images by their grey levels, at 256 bytes each
_DCT, _LOW = 32, 8
_BLOCK = 4_000_000  # pairs compared at once: 32 MB


def thumbnail(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return a grey [THUMB, THUMB] uint8 thumbnail of an image ([H, W, 3] uint8, RGB); the aspect ratio is not kept."""
    return _grey(image, THUMB)


def perceptual_hash(image: NDArray[np.uint8]) -> int:
    """Return the 64-bit pHash of an image: the signs of its lowest frequencies.

    The image is resized to 32×32 grey pixels. The 8×8 lowest coefficients of its discrete cosine transform are compared with their
    median, which excludes the constant coefficient (Zauner 2010, "Implementation and benchmarking of perceptual image hash functions").
    Scaling, recompression and changes of brightness leave the hash nearly unchanged.

    Args:
        image: [H, W, 3] uint8, RGB.
    """
    coefficients = cv2.dct(_grey(image, _DCT).astype(np.float32))[:_LOW, :_LOW].reshape(-1)
    bits = coefficients > np.median(coefficients[1:])
    return int.from_bytes(np.packbits(bits).tobytes(), "big")


def _grey(image: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    # area averaging avoids aliasing; the conversion to grey comes last because few pixels are left
    small = cv2.resize(image, (side, side), interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.cvtColor(small, cv2.COLOR_RGB2GRAY), dtype=np.uint8)


def near_pairs(hashes: NDArray[np.uint64], radius: int) -> NDArray[np.int64]:
    """Return all pairs of hashes that differ in at most `radius` bits; the search is exhaustive.

    The 64 bits are divided into radius + 1 bands. Two hashes within the radius are equal in at least one band, because they differ in
    fewer bits than there are bands; so only hashes with an equal band are compared (Norouzi, Punjani and Fleet 2012, "Fast search in
    Hamming space with multi-index hashing").

    Args:
        hashes: [N] uint64.
        radius: largest number of differing bits, 0 to 63.

    Returns:
        Sorted [P, 2] int64 index pairs, the lower index first.
    """
    pairs = [np.zeros((0, 2), np.int64)]
    edges = np.linspace(0, BITS, radius + 2).round().astype(int)
    for low, high in itertools.pairwise(edges):
        band = (hashes >> np.uint64(low)) & np.uint64(2 ** int(high - low) - 1)
        order = np.argsort(band, kind="stable")
        starts = np.flatnonzero(np.diff(band[order])) + 1
        for group in np.split(order, starts):
            if len(group) > 1:
                pairs += _within(hashes, group, radius)
    return np.unique(np.concatenate(pairs), axis=0)


def _within(hashes: NDArray[np.uint64], group: NDArray[np.int64], radius: int) -> list[NDArray[np.int64]]:
    """Compare all pairs of a group, one block of rows at a time."""
    members, found = np.sort(group), []
    rows = max(1, _BLOCK // len(members))
    for start in range(0, len(members), rows):
        distance = np.bitwise_count(hashes[members[start : start + rows], None] ^ hashes[members[None, start:]])
        first, second = np.nonzero(np.triu(distance <= radius, 1))
        found.append(np.stack([members[start + first], members[start + second]], 1))
    return found
