"""Captions held against the texts that people gave: tokens, then BLEU, ROUGE-L, CIDEr and, with Java, METEOR."""
