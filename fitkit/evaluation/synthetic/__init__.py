"""The synthetic benchmark of `fitkit eval synthetic`: people of known shape, rendered, fitted as any photo is, and measured.

Head (ICT-FaceKit), skin and renderer (Mitsuba) are not fitkit's own. Read in this order:

    subjects           identity, expression, pose and lens of each subject, drawn by seed: the ground truth
    skin_appearance    colours of their skin, hair, eyes and teeth
    environment_light  the light round them, and the backdrop
    mitsuba_scene      the photograph: Mitsuba's radiance through a simple camera, as a JPEG file
    benchmark          the run over all subjects, with its cache
"""
