"""Running tasks: the only place that knows Daisy."""
