"""One module per environment: development, staging, production. This package itself holds no setting."""
