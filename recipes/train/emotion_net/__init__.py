"""Training of Emotion-Net (Chen et al. 2019, Section 3.2), on labels of kind `expressions`: `fitkit train emotion_net`.

    task     pictures in memory, loss, scores, and what the training loop is given
"""
