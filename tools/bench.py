"""``finevit bench`` out of a checkout."""

from finevit.commands.bench import main

if __name__ == "__main__":
    main()
