"""What land and what climate each candidate chip shows, known before any of its pixels is read."""
