"""Maps in the head's UV: the albedo map, made from what a photo shows, and the displacement map of a refined fit.

In: a photo's window, the head's depth in it, and the fitted face. Out: albedo `[1024, 1024, 3]`, sRGB; a `Relief`, mm.

    unwrap.py               reads the photo at every texel, and calls the others: `complete_albedo`, `full_generated_albedo`
    layout.py               the texel grid, its 8x coarser copy, the head's regions on them; blur, upsampling, log ratios
    observed_albedo.py      photo over light and model as a log ratio, without highlights; validity: skin, or hair and shadow
    openings.py             texels about mouth and eyes that show teeth, the dark of the mouth or an eyeball in place of skin
    albedo_completion.py    broad and fine parts of that over the model's albedo; hidden texels from the mirrored half
    joined_photos.py        several photos of a person as one: leftover light off, detail of the best view, no seams
    fine_texture.py         maps of 2048 and 4096 texels, with what photos show above 1024
    occlusion_map.py        ambient occlusion
    scalp.py                hair or bare skin above the hairline
    generated_albedo.py     a generator's map without adversarial artefacts, for recipe `ganfit`
    displacement.py         displacement along the depth -> along the normals; normal map and displaced mesh
"""
