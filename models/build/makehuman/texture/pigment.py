"""Skin colour from pigments: linear RGB reflectance of skin, given its fractions of melanin and of blood.

A small optical model with published constants: light crosses the epidermis twice, where melanin absorbs (Beer and Lambert), and is
reflected by the dermis, a turbid half-space in which blood absorbs (Kubelka and Munk). Spectra are integrated to linear sRGB.
"""

import numpy as np

WAVELENGTH = np.arange(400.0, 701.0, 10.0)          # nm, of every spectrum below

# Haemoglobin: molar extinction, cm^-1 / M, of oxygenated and deoxygenated blood (compiled by S. Prahl, omlc.org)
_HAEMOGLOBIN = np.array([
    (400, 266232, 223296), (420, 480360, 407560), (440, 102580, 413280), (450, 62816, 103292), (460, 44480, 23389),
    (480, 26629, 14550), (500, 20933, 20862), (520, 24202, 31590), (540, 53236, 46592), (550, 43016, 53412),
    (560, 32613, 53788), (570, 44496, 45072), (580, 50104, 37020), (590, 14401, 28324), (600, 3200, 14677),
    (620, 942, 6510), (640, 442, 4345), (660, 320, 3227), (680, 278, 2408), (700, 290, 1794),
], dtype=float)
OXYGENATION = 0.75                                  # share of oxygenated haemoglobin
MOLAR = 2.303 * 150 / 64500                         # extinction -> absorption of whole blood, cm^-1 (150 g/l, 64500 g/mol)
EPIDERMIS = 0.006                                   # cm
SLANT = 4.0                                         # mean path of diffuse light through a thin layer, in and out, in thicknesses
SURFACE = 0.03                                      # reflected by the surface itself, in diffuse light, at every wavelength
EUMELANIN = 0.95                                    # share of melanin; the rest is pheomelanin

# CIE daylight D65, relative power
_D65 = np.array([
    (400, 82.75), (420, 93.43), (440, 104.86), (460, 117.81), (480, 115.92), (500, 109.35), (520, 104.79), (540, 104.41),
    (560, 100.0), (580, 95.79), (600, 90.01), (620, 87.70), (640, 83.70), (660, 80.21), (680, 78.28), (700, 71.61),
])
# XYZ to linear sRGB (IEC 61966-2-1)
_SRGB = np.array([[3.2406, -1.5372, -0.4986], [-0.9689, 1.8758, 0.0415], [0.0557, -0.2040, 1.0570]])


def skin_colour(melanin: float | np.ndarray, blood: float | np.ndarray) -> np.ndarray:
    """Linear RGB reflectance [..., 3].

    Args:
        melanin: [...] volume fraction of melanosomes in the epidermis: about 0.01 (very light) to 0.4 (very dark).
        blood: [...] volume fraction of blood in the dermis: about 0.01 to 0.08.
    """
    melanin, blood = np.asarray(melanin)[..., None], np.asarray(blood)[..., None]
    # Jacques, "Optical absorption of melanin", 1996, and Donner and Jensen, 2006, eq. 3-5; cm^-1
    eumelanin, pheomelanin = 6.6e11 * WAVELENGTH**-3.33, 2.9e15 * WAVELENGTH**-4.75
    bare = 0.244 + 85.3 * np.exp(-(WAVELENGTH - 154) / 66.2)
    epidermis = melanin * (EUMELANIN * eumelanin + (1 - EUMELANIN) * pheomelanin) + (1 - melanin) * bare
    oxygenated, deoxygenated = (
        np.exp(np.interp(WAVELENGTH, _HAEMOGLOBIN[:, 0], np.log(_HAEMOGLOBIN[:, k]))) * MOLAR for k in (1, 2)
    )
    dermis = blood * (OXYGENATION * oxygenated + (1 - OXYGENATION) * deoxygenated) + (1 - blood) * bare
    # reduced scattering of the dermis (Donner and Jensen, 2006, eq. 6), mm^-1 there
    scattering = 10 * (14.74 * WAVELENGTH**-0.22 + 2.2e11 * WAVELENGTH**-4)
    ratio = 2 * dermis / (0.75 * scattering)
    reflectance = 1 + ratio - np.sqrt(ratio * (ratio + 2))
    return SURFACE + (1 - SURFACE) * (np.exp(-epidermis * EPIDERMIS * SLANT) * reflectance) @ _to_rgb()


def _to_rgb() -> np.ndarray:
    """Weights [W, 3] from a reflectance spectrum under D65 to linear sRGB; a perfect white gives (1, 1, 1).

    Colour matching functions: Wyman, Sloan and Shirley, "Simple analytic approximations to the CIE XYZ color matching
    functions", 2013.
    """
    def lobe(scale: float, centre: float, below: float, above: float) -> np.ndarray:      # a Gaussian with two widths, nm
        width = np.where(centre > WAVELENGTH, below, above)
        return scale * np.exp(-0.5 * ((WAVELENGTH - centre) / width) ** 2)

    x = lobe(1.056, 599.8, 37.9, 31.0) + lobe(0.362, 442.0, 16.0, 26.7) + lobe(-0.065, 501.1, 20.4, 26.2)
    y = lobe(0.821, 568.8, 46.9, 40.5) + lobe(0.286, 530.9, 16.3, 31.1)
    z = lobe(1.217, 437.0, 11.8, 36.0) + lobe(0.681, 459.0, 26.0, 13.8)
    power = np.interp(WAVELENGTH, _D65[:, 0], _D65[:, 1])
    weights = (np.stack([x, y, z], axis=1) * power[:, None]) @ _SRGB.T
    return weights / weights.sum(axis=0)
