"""The built-in mappings. Each file is a plugin like any other, and a template to copy."""
