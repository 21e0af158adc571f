"""Models and the roles they play. Imports of torch and transformers live here and in training."""
