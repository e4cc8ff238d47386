"""What waits for its acknowledgement: bytes on disk. Has never heard of a reading.

`spool.sqlite` needs the extra `edge`; `spool.config`, which every command reads, does not.
"""
