"""In which order waiting jobs run: classes of service, turns of owners within a class, limits."""
