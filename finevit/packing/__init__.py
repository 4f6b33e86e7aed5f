"""Everything that knows what a pack is: images, texts and dialogues in one sequence each, without padding."""
