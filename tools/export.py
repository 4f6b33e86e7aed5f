"""``finevit export`` out of a checkout."""

from finevit.commands.export import main

if __name__ == "__main__":
    main()
