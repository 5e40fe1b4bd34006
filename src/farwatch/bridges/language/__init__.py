"""The one chat language: what people type, as values. Pure functions, standard library only."""
