"""What twins must be, derived from the truth alone, and how they differ. Shares no code with the fold."""
