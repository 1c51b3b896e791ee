"""Training of DFDN (Chen et al. 2019, Section 4): `fitkit train dfdn --set area=forehead`, then `--set area=mouth`.

    examples   labelled pictures and photographs, unwrapped by a proxy that is wrong as a fit is, and their truth
    patches    which patches of them are taken, and how they are kept
    basis      the PCA of the training patches: `python -m fitkit.recipes.train.dfdn.basis`
    losses     Eqs. 6 to 14
    task       what the training loop is given
"""
