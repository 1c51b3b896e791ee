"""Identity networks: an aligned face crop in, a unit embedding and feature maps out (F of GANFIT, Eqs. 8 and 9).

    network.py        `load_identity`, `activations`, `embed`: all that a recipe needs
    dlib_resnet.py, iresnet.py, mobilefacenet.py, layers.py      the architectures
    importer.py       converts a foreign network's file and proves the conversion: `fitkit assets import identity FILE`
    mxnet_file.py, onnx_file.py, network_graph.py      readers of foreign files, and a NumPy run of their graphs

The embedded one is dlib's, converted by `fitkit.models.build.dlib`; `python -m fitkit.recipes.train.identity` trains a smaller one.
"""
