"""From the command line and YAML to a plan of jobs."""
