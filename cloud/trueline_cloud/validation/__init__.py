"""Whether readings can be what they say. Arrays and schemas only; has never heard of links and tables."""
