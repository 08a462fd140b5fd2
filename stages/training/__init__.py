"""optimizers, devices, the compiled step, checkpoints, evidence."""
