"""``finevit recaption`` out of a checkout."""

from finevit.commands.recaption import main

if __name__ == "__main__":
    main()
