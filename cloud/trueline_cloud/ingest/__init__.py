"""From the links to the journal: frames in, in order per lane; acknowledgements out, for what is committed only."""
