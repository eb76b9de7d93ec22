"""Turns `envs/NAME.toml` into an `EnvSpec`, or into all of its problems at once."""
