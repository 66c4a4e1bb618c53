"""The only engine-specific code: one package an engine, and the questions that the rest may ask of any."""
