"""``finevit serve`` out of a checkout."""

from finevit.commands.serve import main

if __name__ == "__main__":
    main()
