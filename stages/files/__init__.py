"""Reading files, and writing them whole or not at all."""
