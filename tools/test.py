"""``finevit test`` out of a checkout."""

from finevit.commands.test import main

if __name__ == "__main__":
    main()
