"""How the models that the repository carries were made: not part of the package."""
