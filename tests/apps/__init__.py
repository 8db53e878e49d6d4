"""Small apps that tests install, each in a process of its own."""
