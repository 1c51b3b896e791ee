"""What decoding a photo takes at most: bytes of memory per pixel, by format, each in a process of its own (Linux).

    python -m tests.measurements.decoder_memory [MEGAPIXELS]

Prints a row per format: bytes of the file, peak of resident memory over that before decoding, and the same per pixel beside the
file. `WORKING_BYTES` in `fitkit/io/image_decoder.py` are bounds on the last column.
"""

import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

FORMATS = (
    ("RGB.jpg", {"quality": 92}), ("RGB_progressive.jpg", {"quality": 92, "progressive": True, "subsampling": 0}),
    ("CMYK.jpg", {}), ("RGB.png", {}), ("RGBA.png", {}), ("P.png", {}), ("I;16.png", {}), ("RGB.tif", {}),
    ("RGB_lzw.tif", {"compression": "tiff_lzw"}), ("F.tif", {}), ("RGB_turned.tif", {"turned": True}),
    ("RGB.webp", {"quality": 80}), ("RGBA.webp", {"lossless": True}), ("RGB.gif", {}), ("RGB.bmp", {}), ("RGB.ppm", {}),
    ("RGB.jp2", {"irreversible": True}), ("RGB.avif", {"speed": 10}), ("deep.png", {}), ("deep_alpha.png", {}), ("RGB.heic", {}),
)
CHILD = """
import sys, re
from fitkit.io.images import read_image
read_image(sys.argv[2])
status = lambda key: int(re.search(key + r":\\s+(\\d+)", open("/proc/self/status").read()).group(1)) * 1024
before = status("VmRSS")
open("/proc/self/clear_refs", "w").write("5")
read_image(sys.argv[1])
print(status("VmHWM") - before)
"""


def write(path: Path, small: np.ndarray, options: dict) -> Path:
    """A photo in the mode that its name begins with."""
    mode = path.stem.partition("_")[0]
    if mode == "deep":
        from tests.io.test_images import png16

        alpha = 4 if path.stem == "deep_alpha" else 3
        path.write_bytes(png16(np.resize(small.astype(np.uint16) * 257, (*small.shape[:2], alpha))))
        return path
    image = Image.fromarray(small)
    if mode in ("F", "I;16"):
        grey = small[..., 0]
        image = Image.fromarray(grey.astype(np.uint16) if mode == "I;16" else grey / np.float32(255))
    elif mode != "RGB":
        image = image.convert(mode)
    if options.pop("turned", False):
        exif = Image.Exif()
        exif[0x0112] = 6
        options["exif"] = exif
    image.save(path, **options)
    return path


def main(megapixels: float = 12.0) -> None:
    """Measure every format."""
    side = int((megapixels * 1e6 / 1.5) ** 0.5)
    random = np.random.default_rng(0)
    coarse = random.integers(0, 256, (side // 8 + 1, side * 3 // 16 + 1, 3))
    picture = np.kron(coarse, np.ones((8, 8, 1), int))[:side, :side * 3 // 2] + random.integers(0, 8, (side, side * 3 // 2, 1))
    picture = np.clip(picture, 0, 255).astype(np.uint8)
    pixels = picture.shape[0] * picture.shape[1]
    with tempfile.TemporaryDirectory() as folder:
        tiny = Path(folder) / "tiny.png"
        Image.fromarray(picture[:8, :8]).save(tiny)
        for name, options in FORMATS:
            try:
                path = write(Path(folder) / name, picture, dict(options))
            except (ValueError, KeyError, OSError) as error:
                print(f"{name:22} not written: {error}")
                continue
            done = subprocess.run([sys.executable, "-c", CHILD, str(path), str(tiny)], capture_output=True, text=True)
            if done.returncode:
                print(f"{name:22} {done.stderr.strip().splitlines()[-1]}")
                continue
            peak, size = int(done.stdout), path.stat().st_size
            print(f"{name:22} {size / 1e6:8.1f} MB {peak / 1e6:8.1f} MB {(peak - size) / pixels:6.1f} bytes per pixel", flush=True)


if __name__ == "__main__":
    main(*map(float, sys.argv[1:]))
