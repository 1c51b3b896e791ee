"""The command `fitkit`: options, what they start, and what is said meanwhile. JAX is imported only where a command needs it."""
