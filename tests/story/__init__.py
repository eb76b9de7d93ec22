"""What users are promised, end to end: real Nox, resolvers, registry and engine."""
