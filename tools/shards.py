"""``finevit shards`` out of a checkout."""

from finevit.commands.shards import main

if __name__ == "__main__":
    main()
