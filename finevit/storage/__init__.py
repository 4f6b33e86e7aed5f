"""Files as they meet the system: durable writes, regular files alone, places that are full or closed."""
