"""Where the points of landmark detectors lie on the embedded head, and how much each counts.

`landmarks` reads points.toml and places 468 MediaPipe and 68 iBUG points and the jaw lines on the cut head (a step of the build).
`register` writes points.toml from renderings, with `rings` for lids and lips. `detector_calibration` measures, on the built head,
the prior of identity and where the detector sees points, and writes `models/weights/makehuman_calibration.safetensors`.
"""
