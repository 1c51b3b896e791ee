"""The synthetic benchmark of `fitkit eval synthetic`: people of known shape, rendered, fitted as any photo is, and measured.

Most people (ICT-FaceKit), skins and the renderer (Mitsuba) are not fitkit's own. Read in this order:

    kinds              names of what differs from picture to picture: light, skin, renderer, ...; what is left out of tuning
    populations        the head models whose random people are the ground truth
    subjects           identity, expression, pose and lens of each subject, drawn by seed
    skin_appearance    painted colours of their skin, hair, eyes and teeth
    skin_maps          photographed skin, carried onto them
    environment_light  the light round them, and the backdrop
    scene              all of these as coloured meshes
    mitsuba_scene      radiance by Mitsuba's path tracer
    rasterized_scene   radiance by fitkit's rasterizer; masks of what is before the face
    photograph         the radiance through a simple camera, as a JPEG file
    benchmark          the run over all kinds and subjects, with its cache
"""
