"""The programs of a bundle, and what each runtime has of its own in it: see ../program.py."""
