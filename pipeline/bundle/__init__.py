"""An engine to take home: a folder or zip archive with all that a program needs to use it.

export      artifacts -> bundle
contents    what bundle.json holds, and the only reader of it
engine      bundle -> predictions
triton      bundle -> a model that NVIDIA Triton serves
programs/   predict.py of a bundle and model.py for Triton, by runtime
"""
