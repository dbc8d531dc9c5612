"""Who asks: people, authorities and switches, what shows who they are, and what they may."""
