"""Small things with no home of their own in the field: files that are never half written."""
