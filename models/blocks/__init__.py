"""Parts of convolutional networks, as Flax NNX modules; pictures and maps are [batch, height, width, channels].

    residual         ResNet-18
    unet             U-Net; hypercolumns
    up_convolution   twice the size by a transposed convolution; pixels to channels and back
"""
