"""The ruler: pictures of foreign heads whose shape is known, fitted as any photo is, and measured in millimetres.

Stands above `api`: it calls `fit` as a user does and hands it nothing but the picture. Nothing is tuned here.

    truth.py      who stands before the camera: identity, expression, pose, lens, all drawn by seed
    complexion.py how they are painted: not by our albedo model
    light.py      what stands round them: environment light and backdrop
    scene.py      the photograph, by Mitsuba (extra `eval`) and not by our renderer
    floor.py      how near our head could come with nothing in between
    scores.py     errors, gap closed, bootstrap
    synthetic.py  the run: cache, fits, table
    folder.py     the run on a user's own scans: who belongs to whom, table
    page.py       the page to look at
"""
