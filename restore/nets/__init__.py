"""Networks: torch only, one a file, no disk and no pictures."""
