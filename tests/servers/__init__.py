"""Small servers that behave as people's endpoints have behaved: each a page, on loopback, counting what it was asked."""
