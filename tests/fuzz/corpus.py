"""Small whole files of every format, made by our writers and by code: what the fuzzer mutates."""

from __future__ import annotations

import io
import struct
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import tifffile
from PIL import Image as Pillow
from PIL import ImageCms
from PIL.PngImagePlugin import PngInfo

from restore.files import ifd, write
from restore.picture import Image, Meta, RawImage

HEIGHT, WIDTH = 20, 28
ICC = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
XMP = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"></x:xmpmeta>'
SENSOR_CODECS = (1, 7, 8, 32767, 32769, 32770, 32773, 34713, 34892, 52546, 65000, 65535)
MAKERS = {
    "Canon": "Canon EOS 5D", "NIKON CORPORATION": "NIKON D70", "SONY": "ILCE-7", "SAMSUNG": "NX1", "PENTAX": "K-5",
    "Panasonic": "DMC-GH2", "OLYMPUS IMAGING CORP.": "E-5", "EASTMAN KODAK COMPANY": "DCS Pro 14N",
    "Leaf": "Leaf Aptus", "FUJIFILM": "X-T1", "Phase One": "P 45", "Hasselblad": "Hasselblad H3D",
}  # fmt: skip
HEADS = {
    "crw": b"II\x1a\0\0\0HEAPCCDR\2\0\1\0", "raf": b"FUJIFILMCCD-RAW 0201FF383501FinePix S5Pro\0\0\0", "mrw": b"\0MRM",
    "x3f": b"FOVb\0\0\2\0", "rw2": b"IIU\0\x18\0\0\0", "orf": b"IIRO\x08\0\0\0",
    "iiq": b"IIII\xba\xbe\xca\xfe", "nokia": b"NOKIARAW", "arri": b"ARRI\x12\x34\x56\x78", "dsc": b"DSC-Image",
    "cr3": b"\0\0\0\x18ftypcrx \0\0\0\1crx isom",
    "qtk": b"qktk\0\0\0\0", "cr2": b"II*\0\x10\0\0\0CR\2\0",
}  # fmt: skip


def seeds() -> dict[str, bytes]:
    """Return files by name, always the same."""
    with TemporaryDirectory() as name:
        folder = Path(name)
        _ours(folder)
        _tiffs(folder)
        _raws(folder)
        found = {path.name: path.read_bytes() for path in sorted(folder.iterdir())}
    found |= _pillows()
    sensor = found["bayer.dng"]
    for end, head in HEADS.items():
        found[f"head.{end}"] = head + sensor[len(head) : 3000]
    return found


def _picture(channels: int, *, has_alpha: bool = False, **meta: object) -> Image:
    rng = np.random.default_rng(channels)
    numbers = np.cumsum(rng.random((HEIGHT, WIDTH, channels + 1), np.float32) - 0.45, axis=1) % 1
    alpha = np.ascontiguousarray(numbers[..., -1]) if has_alpha else None
    return Image(np.ascontiguousarray(numbers[..., :-1]), alpha, Meta(**meta))  # type: ignore[arg-type]


def _ours(folder: Path) -> None:
    """Write every format with all metadata that it carries."""
    exif = ifd.block({ifd.MAKE: ifd.ascii_text("Maker"), ifd.EXIF: {ifd.ISO: ifd.make(ifd.SHORT, 800)}})
    known = {"orientation": 6, "exif": exif, "xmp": XMP, "dpi": (300.0, 300.0)}
    for name in ("jpg", "png", "tif", "webp", "avif", "bmp"):
        write(folder / f"colour.{name}", _picture(3, icc=ICC, **known))
        write(folder / f"grey.{name}", _picture(1, **known))
    for name in ("png", "tif", "webp", "avif", "bmp", "jxl"):
        write(folder / f"alpha.{name}", _picture(3, has_alpha=True, **known))
    for name in ("png", "tif", "jxl"):
        write(folder / f"deep.{name}", _picture(3, bits=16))
    for name in ("tif", "jxl"):
        write(folder / f"float.{name}", _picture(3, bits=32, is_float=True))


def _tiffs(folder: Path) -> None:
    """Write TIFFs of other layouts and compressions."""
    colour = np.rint(_picture(3).pixels * 255).astype(np.uint8)
    rgb = {"photometric": "rgb"}
    for name in ("lzw", "jpeg", "packbits", "zstd", "lerc", "webp", "jpegxl", "jpeg2000", "lzma", "png"):
        tifffile.imwrite(folder / f"{name}.tif", colour, compression=name, **rgb)
    tifffile.imwrite(folder / "tiled.tif", colour, tile=(16, 16), **rgb)
    tifffile.imwrite(folder / "tiledlzw.tif", colour, tile=(16, 16), compression="lzw", predictor=True, **rgb)
    tifffile.imwrite(folder / "planes.tif", colour.transpose(2, 0, 1), planarconfig="separate", **rgb)
    tifffile.imwrite(folder / "big.tif", colour, bigtiff=True, byteorder=">", **rgb)
    tifffile.imwrite(folder / "pages.tif", np.stack([colour] * 3), **rgb)
    tifffile.imwrite(folder / "cmyk.tif", np.dstack([colour, colour[..., 0]]), photometric="separated")
    palette = np.arange(768, dtype=np.uint16).reshape(3, 256)
    tifffile.imwrite(folder / "palette.tif", colour[..., 0], photometric="palette", colormap=palette)
    tifffile.imwrite(folder / "half.tif", colour.astype(np.float16), **rgb)
    tifffile.imwrite(
        folder / "floatpred.tif", colour.astype(np.float32), compression="deflate", predictor="floatingpoint", **rgb
    )
    with tifffile.TiffWriter(folder / "thumbnail.tif") as file:
        file.write(colour[::4, ::4], subfiletype=1, subifds=1, **rgb)
        file.write(colour, extratags=tifffile.imagej_metadata_tag({"Info": "a cell"}, "<"), **rgb)
    Pillow.fromarray(colour[..., 0] > 128).save(folder / "fax.tif", compression="group4")


def _raws(folder: Path) -> None:
    """Write DNGs, and TIFF raws that claim to come from cameras of many makers."""
    rng = np.random.default_rng(0)
    bayer = RawImage(rng.random((40, 48), np.float32), ((0, 1), (1, 2)), ((64.0,) * 2,) * 2, 4095.0, meta=Meta(iso=400))
    write(folder / "bayer.dng", bayer)
    row = (1, 2, 1, 1, 0, 1), (0, 1, 0, 2, 1, 2)
    pattern = (row[0], row[1], row[0], row[0][3:] + row[0][:3], row[1][3:] + row[1][:3], row[0][3:] + row[0][:3])
    trans = replace(bayer, cfa=pattern, black=((64.0,) * 6,) * 6, mosaic=rng.random((36, 48), np.float32))
    write(folder / "xtrans.dng", trans)
    write(folder / "linear.dng", Image(np.tile(_picture(3).pixels, (2, 2, 1))), format="dng")
    how, pixels = ifd.Layout(), rng.integers(0, 255, 6000, np.uint8).tobytes()
    for index, (make, model) in enumerate(MAKERS.items()):
        codec = SENSOR_CODECS[index % len(SENSOR_CODECS)]
        longs = {254: 0, 256: 96, 257: 40, 259: codec, 262: 32803, 273: 2000, 277: 1, 278: 40, 279: len(pixels)}
        tags: ifd.Tree = {tag: ifd.make(ifd.LONG, value) for tag, value in longs.items()}
        tags |= {258: ifd.make(ifd.SHORT, 12), 271: ifd.ascii_text(make), 272: ifd.ascii_text(model)}
        tags |= {33421: ifd.make(ifd.SHORT, 2, 2), 33422: ifd.make(ifd.BYTE, 0, 1, 1, 2)}
        head = how.header(8) + ifd.pack(tags, how, 8)
        (folder / f"maker{index}.tif").write_bytes(head.ljust(2000, b"\0") + pixels)


def _pillows() -> dict[str, bytes]:
    """Return files in ways that our writers do not write."""
    colour = Pillow.fromarray(np.rint(_picture(3).pixels * 255).astype(np.uint8))
    found = {}

    def save(name: str, picture: Pillow.Image, form: str, **options: object) -> None:
        body = io.BytesIO()
        picture.save(body, form, **options)
        found[name] = body.getvalue()

    save("progressive.jpg", colour, "JPEG", progressive=True)
    save("restarts.jpg", colour, "JPEG", restart_marker_blocks=1)
    photoshop = b"Photoshop 3.0\0" + b"8BIM\4\4\0\0\0\0\0\2ab" + b"8BIM\4\x0c\0\0\0\0\0\2ab"
    segment = struct.pack(">HH", 0xFFED, len(photoshop) + 2) + photoshop
    save("segments.jpg", colour, "JPEG", comment=b"a comment", extra=segment)
    texts = PngInfo()
    texts.add_text("Author", "Ada")
    texts.add_itxt("Title", "Ada", zip=True)
    save("texts.png", colour, "PNG", pnginfo=texts)
    save("cmyk.jpg", colour.convert("CMYK"), "JPEG")
    save("palette.png", colour.quantize(16), "PNG", transparency=3)
    save("bits.png", colour.convert("1"), "PNG")
    save("lossless.webp", colour, "WEBP", lossless=True)
    save("moving.webp", colour, "WEBP", save_all=True, append_images=[colour.rotate(90)])
    save("palette.bmp", colour.quantize(16), "BMP")
    save("still.heic", colour.resize((64, 64)), "HEIF") if _has_heif() else None
    body = found["lossless.webp"]
    found["chunk.webp"] = body[:4] + struct.pack("<I", len(body)) + body[8:] + b"JUNK\0\0\0\0"
    return found


def _has_heif() -> bool:
    try:
        import pillow_heif
    except ImportError:
        return False
    pillow_heif.register_heif_opener()
    return True
