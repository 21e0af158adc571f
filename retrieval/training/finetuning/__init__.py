"""Fine-tuning of BLIP on a user's own pairs: ITC and ITM, captions, or answers. It knows nothing of galleries."""
