"""The command line: click commands over the client, and how their results look."""
