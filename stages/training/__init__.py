"""Training: data feed, the compiled step, optimizers, devices, checkpoints, evaluation."""
