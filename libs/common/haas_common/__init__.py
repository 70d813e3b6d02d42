"""What every service of the fleet shares."""
