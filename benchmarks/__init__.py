"""What cloudtask costs, each measured beside a baseline in the same run."""
