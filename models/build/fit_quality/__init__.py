"""Learns when a fit is to be believed: the terms of `fitkit/results/fit_quality.py`.

    faults        what spoils a photo or its points
    table         fits of pictures, photos and faulty copies of both, with their evidence
    regression    terms from that table, and how well they tell bad fits
"""
