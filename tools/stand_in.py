"""``finevit stand-in`` out of a checkout."""

from finevit.commands.stand_in import main

if __name__ == "__main__":
    main()
