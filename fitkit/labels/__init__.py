"""Labelled pictures: records, the tar shards they lie in, their reading, and the drawing of pictures with all labels.

    record         one picture and all that is known of it, to and from bytes
    shards         tar files with an index, whole or absent
    reading        a run as a sequence, for grain, PyTorch or a loop
    sheet          what `fitkit labels show` draws
    hidden_modes   size and place of a head, which no picture shows, folded into its pose
    drawing        a scene to a picture with its labels (fine_head, shading); rerendering: a record to its picture

The generators are `fitkit.recipes.synthesize.labels`. Shards are plain tar files of PNG, NumPy and JSON. With tarfile alone:

    import io, json, tarfile
    import numpy as np
    from PIL import Image
    with tarfile.open("run/shard-000000.tar") as shard:
        read = {member.name: shard.extractfile(member).read() for member in shard}
    picture = np.asarray(Image.open(io.BytesIO(read["000000003.png"])))                  # [H, W, 3] sRGB
    mask = np.asarray(Image.open(io.BytesIO(read["000000003.mask.png"])))                # [H, W]; mask & 1 is the head
    labels = np.load(io.BytesIO(read["000000003.labels.npy"]))                           # labels["identity"], labels["pose"], ...
    rows = np.load(io.BytesIO(read["000000003.maps.npy"]))                               # a row for each pixel of the head
    depth = np.zeros(mask.shape, np.float32)
    depth[mask & 1 > 0] = rows["depth"]                                                  # mm

With WebDataset:

    import webdataset
    for sample in webdataset.WebDataset("run/shard-000000.tar", shardshuffle=False):
        picture = np.asarray(Image.open(io.BytesIO(sample["png"])))
        labels = np.load(io.BytesIO(sample["labels.npy"]))

From PyTorch:

    import torch
    from fitkit.labels.reading import open_labels
    source = open_labels("run", fields=("picture", "identity", "pose"))
    for batch in torch.utils.data.DataLoader(source, batch_size=2, shuffle=True):
        picture, identity = batch["picture"], batch["identity"]                          # uint8 [2, H, W, 3], float32 [2, I]

Through grain, an extra, shuffled and read ahead:

    from fitkit.labels.reading import batches, open_labels
    for batch in batches(open_labels("run", fields=("picture", "identity", "pose")), size=2, epochs=1):
        picture, identity = batch["picture"], batch["identity"]
"""
