"""Builds the correspondence between the embedded head and ICT-FaceKit's, `models/weights/ict_registration.safetensors`.

`registration` deforms the embedded head onto ICT's neutral head and writes the table; `lines` gives the curves that must meet.
"""
