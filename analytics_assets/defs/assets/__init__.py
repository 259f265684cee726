"""What an asset is: its spec, its run config, the resource `analytics`, and the definition itself."""
