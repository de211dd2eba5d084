"""What a team's handlers declare, and which of them an event matches."""
