"""Training: the world of postcards, losses and the loop. Needs torch, transformers, Pillow and NumPy only."""
