"""A fitted normalizer as an object of another library; each module imports its library when it is used."""
