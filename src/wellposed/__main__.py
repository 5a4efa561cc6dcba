"""``python -m wellposed`` is the command ``wellposed``."""

from .cli import main

if __name__ == "__main__":
    main()
