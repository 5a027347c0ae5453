"""What a density costs: its programs beside their own matrix products, where a fit's time goes, how cost grows."""
