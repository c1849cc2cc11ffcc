"""The backbone: an autoregressive model, taken over or trained on the shards."""
