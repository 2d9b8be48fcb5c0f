"""Where the bytes are: volumes in stores, and what can be laid around them."""
