"""One file a command: a short list of calls on the rooms below."""
