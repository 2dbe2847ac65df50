"""Weights: where they are found, how they are downloaded and checked, and the networks they are loaded into."""
