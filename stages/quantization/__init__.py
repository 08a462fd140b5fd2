"""What the stage `quantize` is made of: calibration, fine-tune, fallback to float, and the grid."""
