"""What an asset is: specs, run config, the resource `analytics`, and the definition itself."""
