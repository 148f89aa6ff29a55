"""The worker's side: it builds, checks and times. It never imports the controller's side."""
