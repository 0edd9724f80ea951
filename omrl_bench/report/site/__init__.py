"""The leaderboard, as data and as one page."""
