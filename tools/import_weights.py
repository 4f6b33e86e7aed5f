"""``finevit import-weights`` out of a checkout."""

from finevit.commands.import_weights import main

if __name__ == "__main__":
    main()
