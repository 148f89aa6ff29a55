"""What a result says, computed once: samples become estimates, estimates are compared, and both are put into words."""
