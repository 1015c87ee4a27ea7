"""A VISOR model of a user's own, from LLaVA's conversations by transformers' Trainer."""
