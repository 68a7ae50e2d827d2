"""From an archive of pictures to one array file with its splits."""
