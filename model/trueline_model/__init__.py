"""What a model is, on both sides of the link: the cloud that trains it and the agent that runs it.

This room promises that windows, normalisation, scores, p-values and alarms are computed by the same code wherever they
are computed, so that training and serving cannot drift apart. It works on arrays and bytes and refuses to know sockets,
files, clocks, sensors, Keras and LiteRT: whatever it needs of those comes in as an argument.
"""
