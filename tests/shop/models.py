"""Empty on purpose: the models of this app live in the states of generated migrations."""
