"""``finevit write-scenes`` out of a checkout."""

from finevit.commands.write_scenes import main

if __name__ == "__main__":
    main()
