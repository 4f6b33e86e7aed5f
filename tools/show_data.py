"""``finevit show`` out of a checkout."""

from finevit.commands.show import main

if __name__ == "__main__":
    main()
