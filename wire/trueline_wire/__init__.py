"""What crosses the link: readings, frames, acknowledgements, and the two delivery state machines.

This room promises formats and protocol, the same for agent, cloud and simulators. It refuses to know sockets, files,
clocks and randomness: whatever it needs of those comes in as an argument.
"""
