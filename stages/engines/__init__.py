"""Engines: one file per runtime, a folder for TensorRT; registry.py lists them."""
