"""The exit codes that guard.py uses; it cannot import, so a test compares the two."""

PROGRAM, MEMORY, GUARD = 70, 71, 72
