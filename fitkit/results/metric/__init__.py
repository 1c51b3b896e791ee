"""True sizes: how large a fitted head is in millimetres, and its measures, each with its deviation.

    known_size.py    what the user knows: a length on the face, or that the irises are to tell
    measures.py      the thirteen measures of a head
    iris.py          the size of the irises in the photo, in the head's own millimetres
    angle_errors.py  how far the angles of a fitted head are off
    scaled.py        the size of a result; a result in true millimetres
    true_size.py     the posterior of the head's size; measurements.json
"""
