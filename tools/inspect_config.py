"""``finevit inspect`` out of a checkout."""

from finevit.commands.inspect import main

if __name__ == "__main__":
    main()
