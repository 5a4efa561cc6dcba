"""What running the user's code needs: what it reaches, how that is kept and given back, signals, a process of its own."""
