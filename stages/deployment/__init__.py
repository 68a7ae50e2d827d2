"""The model as something to ship: uint8 in, class out, and the means to tell a good copy."""
