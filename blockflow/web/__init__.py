"""Slots and arrays over HTTP, computed when they are looked at."""
