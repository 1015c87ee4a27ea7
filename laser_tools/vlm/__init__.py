"""Everything that knows transformers: loading, prompts, capture of attention, decoding."""
