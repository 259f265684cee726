"""How fast the project is, and how much memory it takes. `make bench` measures it on this machine."""
