"""``finevit fetch-images`` out of a checkout."""

from finevit.commands.fetch_images import main

if __name__ == "__main__":
    main()
