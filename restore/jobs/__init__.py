"""Jobs on folders: what is to be done, doing it, resuming it, and saying what was done."""
