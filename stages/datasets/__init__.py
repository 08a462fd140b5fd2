"""Data sets: one file each, the table of them, and how they are read and divided."""
