"""A segment's text to the ids that its token model takes, for each family of models."""
