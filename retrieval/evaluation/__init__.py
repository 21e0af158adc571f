"""Recall@k runs: every query through the stages that serve users, then pure measures."""
