"""``finevit train`` out of a checkout."""

from finevit.commands.train import main

if __name__ == "__main__":
    main()
