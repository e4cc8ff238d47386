"""What waits for its acknowledgement: bytes on disk. Has never heard of a reading."""
