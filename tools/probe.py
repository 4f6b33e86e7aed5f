"""``finevit probe`` out of a checkout."""

from finevit.commands.probe import main

if __name__ == "__main__":
    main()
