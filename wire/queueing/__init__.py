"""In which order waiting jobs run: classes of service, and turns of owners within a class."""
