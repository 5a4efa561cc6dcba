"""How results look: text, notebook, JSON. Computes nothing; the only room that imports rich."""
