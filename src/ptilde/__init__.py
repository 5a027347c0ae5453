"""Unnormalised densities, estimated, sampled, normalised and checked through their score."""
