"""The web page, tab by tab; `app.py` puts it together."""
