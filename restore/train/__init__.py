"""Training scripts, one flat file a method: they write weights and manifest entries; only the command runs them."""
