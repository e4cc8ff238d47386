"""HTTP: what the store holds, asked for in JSON, pushed as events, and shown on one page."""
