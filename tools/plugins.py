"""``finevit plugins`` out of a checkout."""

from finevit.commands.plugins import main

if __name__ == "__main__":
    main()
