"""Links: oldest unacknowledged frame -> link -> acknowledgement."""
