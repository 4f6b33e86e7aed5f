"""The plugins that come with FineViT, through the same hooks as anybody's."""
