"""Fixtures of the page's tests."""

from browsing import browser, tab
from serving import big, pictures, server

__all__ = ["big", "browser", "pictures", "server", "tab"]
