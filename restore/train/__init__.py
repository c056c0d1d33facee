"""Training scripts, one flat file a method; they write weights and manifest entries and are imported by the command only."""
