"""What stages/fit.py is made of: optimizers, devices, the compiled step, checkpoints, evidence."""
