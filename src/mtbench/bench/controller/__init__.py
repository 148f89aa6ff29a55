"""The controller's side: it plans visits, asks workers, and writes records. It never imports the worker's side."""
