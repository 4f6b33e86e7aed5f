"""``finevit train-tokenizer`` out of a checkout."""

from finevit.commands.train_tokenizer import main

if __name__ == "__main__":
    main()
