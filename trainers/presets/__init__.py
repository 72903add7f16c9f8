"""Registered base models, one YAML file each: where the weights are, and the config that counting needs without them."""
