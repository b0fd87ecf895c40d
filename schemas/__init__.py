"""What every room agrees on: frames, codes, errors and the time grid. Imports nothing of ours."""
