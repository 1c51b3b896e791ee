"""The generative adversarial network of albedo maps: its generator and its discriminator."""
