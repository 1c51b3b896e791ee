"""Training of DF2Net (Zeng et al. 2019, Section 3.6) in three steps: `fitkit train dnet`, then `fnet`, then `frnet`.

    losses       Eq. 1 to 5
    examples     crops of faces from labelled pictures: colours, depth in half crops, normals, coarse albedo
    appearance   how they are changed before a network sees them: worn, or lit anew
    kept         what earlier networks say of each picture, computed once
    dense        the task of D-Net
    refinement   the tasks of F-Net and Fr-Net
"""
