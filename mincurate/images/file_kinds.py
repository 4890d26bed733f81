"""Which files are images: by their names and by how they begin."""

import os
import re

VIDEO_SUFFIXES = frozenset(
    (".mp4", ".m4v", ".mov", ".avi", ".mkv", ".webm", ".mpg", ".mpeg", ".wmv", ".flv")
)
IMAGE_SUFFIXES = frozenset(
    [
        ".jpg",
        ".jpeg",
        ".jpe",
        ".jfif",
        ".png",
        ".webp",
        ".bmp",
        ".tif",
        ".tiff",
        ".gif",
        ".heic",
        ".heif",
        ".hif",
        ".avif",
        ".avifs",
        ".jp2",
        ".j2k",
        ".jpf",
        ".jpx",
        ".jxl",
        ".apng",
        ".dib",
        ".ppm",
        ".pgm",
        ".pbm",
        ".pnm",
        ".pam",
        ".pfm",
    ]
)
"""Files so named are listed, in any case of letters, readable or not; others are ignored."""


_MAGIC = tuple(
    (re.compile(pattern, re.DOTALL), kind)
    for pattern, kind in (
        (rb"\xff\xd8\xff", "JPEG"),
        (rb"\x89PNG\r\n\x1a\n", "PNG"),
        (rb"GIF8[79]a", "GIF"),
        (rb"RIFF....WEBP", "WEBP"),
        (rb"BM.{12}[\x0c\x10\x28\x34\x38\x40\x6c\x7c]\0\0\0", "BMP"),
        (rb"II[*+]\0|MM\0[*+]", "TIFF"),
        (rb"....ftypavi[fs]", "AVIF"),
        (rb"....ftyp(hei|hev|mif|msf)", "HEIC"),
        (rb"....ftyp", "MP4"),
        (rb"\0\0\0\x0cjP  |\xff\x4f\xff\x51", "JPEG 2000"),
        (rb"\0\0\0\x0cJXL |\xff\x0a", "JPEG XL"),
        (rb"P[1-6]\s", "PNM"),
        (rb"Pf\s", "PFM"),
        (rb"P7\s", "PAM"),
        (rb"PF\s", "PFM of three colours"),
        (rb"8BPS", "PSD"),
        (rb"%PDF", "PDF"),
        (rb"PK\x03\x04", "ZIP"),
        (rb"\x1f\x8b", "GZIP"),
        (rb"version https://git-lfs", "Git LFS pointer"),
        (rb"(?i:\s*(<\?xml.*|<!--.*|<!doctype svg.*)?<svg)", "SVG"),
        (rb"(?i:\s*(<!doctype html|<html|<head|<body))", "HTML"),
    )
)


FORMATS = ("JPEG", "PNG", "WEBP", "TIFF", "GIF", "AVIF", "JPEG2000", "PPM")
"""What Pillow calls the formats that are read."""
_OF_PILLOW = {"JPEG 2000": "JPEG2000", "PNM": "PPM", "PFM": "PPM", "HEIC": "HEIF"}
_OF_BROWSERS = ("JPEG", "PNG", "GIF", "WEBP", "BMP", "AVIF")
_STARTS = ("JPEG", "PNG", "GIF", "WEBP", "BMP", "TIFF", "AVIF", "HEIC", "JPEG 2000")


def sniff(head: bytes) -> str | None:
    """What a file is by its first bytes (512 are plenty), for instance ``"PNG"`` or ``"PDF"``."""
    return next((kind for pattern, kind in _MAGIC if pattern.match(head)), None)


def shown_by_browsers(data: bytes) -> bool:
    """Whether browsers show a file as it is: not a PNG of 16 bits of which fewer are in use."""
    kind = sniff(data[:512])
    return kind in _OF_BROWSERS and not (kind == "PNG" and data[24:25] == b"\x10")


def why(error: OSError) -> str:
    """What the system says about a file, as a fragment of a sentence."""
    if isinstance(error, FileNotFoundError):
        return "file not found"
    return (error.strerror or "cannot be read").lower()


def named_like_an_image(name: str) -> bool:
    """Whether a file's suffix is that of an image."""
    return os.path.splitext(name)[1].casefold() in IMAGE_SUFFIXES


def named_like_a_video(name: str) -> bool:
    """Whether a file's suffix is that of a video."""
    return os.path.splitext(name)[1].casefold() in VIDEO_SUFFIXES


def starts_like_an_image(path: str) -> bool:
    """Whether a file begins like an image, whatever its name."""
    try:
        with open(path, "rb") as file:
            return sniff(file.read(512)) in _STARTS
    except OSError:
        return False


def pillows_name(data: bytes) -> str:
    """What Pillow calls the format of a file."""
    kind = sniff(data[:512]) or ""
    return _OF_PILLOW.get(kind, kind)


def what_is_wrong(data: bytes) -> str:
    """Why a file could not be decoded, by what it is."""
    kind = sniff(data[:512])
    if kind in ("TIFF", "BMP"):  # formats with more variants than anybody reads
        return f"damaged or unsupported {kind} file"
    if kind == "HEIC":
        return "damaged HEIC file, or of a kind that pillow-heif does not read"
    if kind and pillows_name(data) in FORMATS:
        return f"truncated or damaged {kind} file"
    return f"unsupported format: {kind}" if kind else "not an image"
